"""A run as its readers see it: status, steps, answer and bill, folded from its events and from nothing else.

queued ──started──▶ running ──suspended──▶ suspended | needs-human | needs-version ──resumed──▶ running
any of them ──▶ completed | failed | compensated | cancelled, once and for ever
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_COMPENSATION,
    SUSPENSION_REASON_UNKNOWN,
    SUSPENSION_REASON_VERSION,
    RunEvent,
    SuspensionReason,
)
from astromesh.v1.runs_pb2 import (
    RUN_STATUS_CANCELLED,
    RUN_STATUS_COMPENSATED,
    RUN_STATUS_COMPLETED,
    RUN_STATUS_FAILED,
    RUN_STATUS_NEEDS_HUMAN,
    RUN_STATUS_NEEDS_VERSION,
    RUN_STATUS_QUEUED,
    RUN_STATUS_RUNNING,
    RUN_STATUS_SUSPENDED,
    STEP_KIND_AGENT,
    STEP_KIND_MODEL,
    STEP_KIND_TOOL,
    STEP_STATUS_FAILED,
    STEP_STATUS_RUNNING,
    STEP_STATUS_SUCCEEDED,
    STEP_STATUS_UNKNOWN,
    STEP_STATUS_WAITING,
    Run,
    RunStatus,
    Step,
)
from astromesh.v1.values_pb2 import Failure, Usage
from astromesh_core.errors import Cancelled
from astromesh_core.events.contents import text_content
from astromesh_core.events.human_steps import HUMAN_FOLDS, no_longer_asked

DEFAULT_ROLE = "default"
"""Of the model of an agent that names no roles."""

TERMINAL_EVENTS = frozenset({"completed", "failed", "compensated", "cancelled"})
TERMINAL = frozenset({RUN_STATUS_COMPLETED, RUN_STATUS_FAILED, RUN_STATUS_COMPENSATED, RUN_STATUS_CANCELLED})

STATUS_NAMES: dict[RunStatus.ValueType, str] = {
    RUN_STATUS_QUEUED: "queued",
    RUN_STATUS_RUNNING: "running",
    RUN_STATUS_SUSPENDED: "suspended",
    RUN_STATUS_NEEDS_HUMAN: "needs-human",
    RUN_STATUS_NEEDS_VERSION: "needs-version",
    RUN_STATUS_COMPLETED: "completed",
    RUN_STATUS_FAILED: "failed",
    RUN_STATUS_COMPENSATED: "compensated",
    RUN_STATUS_CANCELLED: "cancelled",
}
"""Every status by the name that users see, and no other."""


FRAME_PATH = "0"
"""Of the effect that is the frame's own and no pattern's: folding a session's turns into its summary. Nobody hears what
the model says there."""


def is_terminal(event: RunEvent) -> bool:
    """True for the one event that ends a run."""
    return event.WhichOneof("event") in TERMINAL_EVENTS


def fold(events: Iterable[Envelope]) -> Run:
    """The run as these events, from index 0 on, tell it."""
    folder = RunFolder()
    for envelope in events:
        folder.apply(envelope)
    return folder.run


class RunFolder:
    """Folds a run event by event. `run` is always the state after the last one applied."""

    def __init__(self, run: Run | None = None) -> None:
        """Starts anew, or goes on from a run folded before."""
        self.run = run if run is not None else Run()
        self._steps = {step.path: step for step in self.run.steps}

    def apply(self, envelope: Envelope) -> None:
        """Takes the next event. An event at or below the last index is ignored: applying twice changes nothing."""
        run = self.run
        if envelope.index < run.events:
            return
        run.events = envelope.index + 1
        kind = envelope.run.WhichOneof("event")
        fold_event = _FOLDS.get(kind or "")
        if kind is not None and fold_event is not None:
            fold_event(self, envelope, getattr(envelope.run, kind))

    def step(self, path: str) -> Step:
        """The step at a path; a new one where there was none."""
        found = self._steps.get(path)
        if found is None:
            found = self.run.steps.add(path=path, status=STEP_STATUS_RUNNING)
            self._steps[path] = found
        return found


def add_usage(total: Usage, part: Usage) -> None:
    """Adds a call's usage to a total. The total is estimated where any part is."""
    total.input_tokens += part.input_tokens
    total.output_tokens += part.output_tokens
    total.cached_input_tokens += part.cached_input_tokens
    total.cache_written_tokens += part.cache_written_tokens
    total.reasoning_tokens += part.reasoning_tokens
    total.estimated = total.estimated or part.estimated


def suspended_status(reason: SuspensionReason.ValueType) -> RunStatus.ValueType:
    """The status of a run that waits for this reason."""
    if reason in (SUSPENSION_REASON_UNKNOWN, SUSPENSION_REASON_COMPENSATION):
        return RUN_STATUS_NEEDS_HUMAN
    return RUN_STATUS_NEEDS_VERSION if reason == SUSPENSION_REASON_VERSION else RUN_STATUS_SUSPENDED


# One function an event. `Any` is the event's own generated class, chosen by the oneof above.


def _requested(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    run = folder.run
    run.run_id, run.namespace = envelope.aggregate_id, envelope.namespace
    run.agent, run.session_key, run.principal = event.agent, event.session_key, event.principal
    run.session_id.CopyFrom(event.session_id)
    run.query.CopyFrom(event.query)
    run.status = RUN_STATUS_QUEUED
    run.requested_unix_nano = envelope.time_unix_nano
    run.traceparent = envelope.traceparent
    if event.HasField("lineage"):
        above = event.lineage.ancestors
        run.parent_run_id, run.parent_path = above[-1].run_id, event.lineage.path
        run.root_run_id, run.depth = above[0].run_id, len(above)
    if event.HasField("fork"):
        run.forked_run_id, run.forked_index = event.fork.run_id, event.fork.index


def _started(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    folder.run.structured = bool(event.output_schema_json)
    folder.run.status = RUN_STATUS_RUNNING
    folder.run.started_unix_nano = envelope.time_unix_nano


def _assembled(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    if event.memory_unavailable:
        folder.run.warnings.append(f"answered without all that is remembered: {event.memory_unavailable}")


def _model_begun(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    step = folder.step(event.path)
    # Which model answers is known when it has; until then the role says more, where the agent names several.
    name = event.role if event.role not in ("", DEFAULT_ROLE) else "model"
    if event.path == FRAME_PATH:
        name = "summary"
    step.kind, step.name, step.status = STEP_KIND_MODEL, name, STEP_STATUS_RUNNING
    step.timing.start_unix_nano = envelope.time_unix_nano
    _add_lost(folder, event, step)


def _model_replied(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    step = folder.step(event.path)
    step.kind = STEP_KIND_MODEL
    # A call that a cost limit refused was never begun.
    step.name = step.name or "model"
    step.timing.CopyFrom(event.timing)
    if event.HasField("failure"):
        step.status = STEP_STATUS_FAILED
        step.failure.CopyFrom(event.failure)
    else:
        step.status = STEP_STATUS_SUCCEEDED
        step.output.CopyFrom(event.message.content)
        step.finish_reason = event.finish_reason
        if event.path != FRAME_PATH:
            folder.run.finish_reason = event.finish_reason
        step.reasoning.extend(part.text for part in event.message.reasoning if part.HasField("text"))
    if event.HasField("route"):
        step.route.CopyFrom(event.route)
    if event.HasField("charge"):
        step.name = event.charge.model or step.name
        add_usage(step.usage, event.charge.usage)
        add_usage(folder.run.usage, event.charge.usage)
        step.cost_nanos += event.charge.cost_nanos
        folder.run.cost_nanos += event.charge.cost_nanos
    _add_lost(folder, event, step)


def _add_lost(folder: RunFolder, event: Any, step: Step | None = None) -> None:
    """What was spent on calls that gave no completion: of most runs nothing."""
    if not (event.partial_charges or event.HasField("lost_usage")):
        return
    totals = [folder.run.usage] if step is None else [folder.run.usage, step.usage]
    for total in totals:
        if event.HasField("lost_usage"):
            add_usage(total, event.lost_usage)
        for charge in event.partial_charges:
            add_usage(total, charge.usage)
    cost_nanos = sum(charge.cost_nanos for charge in event.partial_charges)
    folder.run.cost_nanos += cost_nanos
    if step is not None:
        step.cost_nanos += cost_nanos


def _tool_intended(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    step = folder.step(event.path)
    step.kind, step.name, step.status = STEP_KIND_TOOL, event.call.name, STEP_STATUS_RUNNING
    step.input.CopyFrom(event.call.arguments)
    step.timing.start_unix_nano = envelope.time_unix_nano


def _arguments_checked(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    step = folder.step(event.path)
    step.kind, step.name = STEP_KIND_TOOL, event.call.name
    step.input.CopyFrom(event.call.arguments)
    step.timing.start_unix_nano = envelope.time_unix_nano


def _result_checked(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    step = folder.step(event.path)
    if step.HasField("failure"):
        step.failure.message.CopyFrom(event.text)
    else:
        step.output.CopyFrom(event.text)


def _tool_succeeded(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    step = folder.step(event.path)
    step.status = STEP_STATUS_FAILED if event.result.is_error else STEP_STATUS_SUCCEEDED
    step.output.CopyFrom(event.result.output)
    step.cached, step.simulated = event.result.cached, event.simulated
    if event.result.HasField("whole"):
        step.whole.CopyFrom(event.result.whole)
    # Why it was not known for a while is history once somebody settled it.
    step.ClearField("failure")
    _settle(step, event)


def _tool_failed(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    step = folder.step(event.path)
    step.status = STEP_STATUS_FAILED
    step.failure.CopyFrom(event.failure)
    if event.HasField("call"):
        step.kind, step.name = STEP_KIND_TOOL, event.call.name
        step.input.CopyFrom(event.call.arguments)
    _settle(step, event)


def _settle(step: Step, event: Any) -> None:
    # Whoever settles an unknown step afterwards has no times of the call.
    if event.HasField("timing"):
        step.timing.CopyFrom(event.timing)


def _tool_unknown(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    step = folder.step(event.path)
    step.status = STEP_STATUS_UNKNOWN
    unknown = f"{step.name} gave no answer ({event.reason}): nobody knows whether it was done"
    step.failure.CopyFrom(Failure(error_class=event.reason, message=text_content(unknown)))
    step.timing.CopyFrom(event.timing)


def _child_started(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    step = folder.step(event.path)
    step.kind, step.status = STEP_KIND_AGENT, STEP_STATUS_RUNNING
    step.name, step.child_run_id = event.call.name or event.agent, event.child_run_id
    step.input.CopyFrom(event.call.arguments if event.HasField("call") else event.query)
    step.timing.start_unix_nano = envelope.time_unix_nano


def _child_finished(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    step = folder.step(event.path)
    if not event.child_run_id:
        # It was refused: nothing was started.
        step.kind, step.name = STEP_KIND_AGENT, event.call.name or event.agent
        step.timing.start_unix_nano = envelope.time_unix_nano
        if event.HasField("call"):
            step.input.CopyFrom(event.call.arguments)
    step.timing.duration_nano = envelope.time_unix_nano - step.timing.start_unix_nano
    if event.HasField("failure"):
        step.status = STEP_STATUS_FAILED
        step.failure.CopyFrom(event.failure)
    else:
        step.status = STEP_STATUS_SUCCEEDED
        step.output.CopyFrom(event.answer)
    folder.run.children_cost_nanos += event.totals.cost_nanos


def _suspended(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope
    folder.run.status = suspended_status(event.reason)
    folder.run.waiting_for = SuspensionReason.Name(event.reason).removeprefix("SUSPENSION_REASON_").lower()
    folder.run.waiting_path = event.path


def _resumed(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    del envelope, event
    folder.run.status = RUN_STATUS_RUNNING
    folder.run.waiting_for = folder.run.waiting_path = ""


def _completed(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    _end(folder, envelope, event, RUN_STATUS_COMPLETED)
    folder.run.answer.CopyFrom(event.answer)
    folder.run.sources.extend(event.sources)


def _failed(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    _end(folder, envelope, event, RUN_STATUS_FAILED)
    folder.run.failure.CopyFrom(event.failure)
    _cut_off(folder, event.failure.error_class, "cut off by the end of the run")


def _compensated(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    _end(folder, envelope, event, RUN_STATUS_COMPENSATED)
    folder.run.failure.CopyFrom(event.cause)
    _cut_off(folder, event.cause.error_class, "cut off by the end of the run")
    folder.run.warnings.extend(f"step {it.path} ({it.name}) was not undone: {it.reason}" for it in event.left)


def _cancelled(folder: RunFolder, envelope: Envelope, event: Any) -> None:
    _end(folder, envelope, event, RUN_STATUS_CANCELLED)
    folder.run.answer.CopyFrom(event.partial_answer)
    _cut_off(folder, Cancelled.code, "cut off by the cancel")


def _cut_off(folder: RunFolder, error_class: str, message: str) -> None:
    """Ends the steps that were under way: nothing of them will ever come."""
    for step in folder.run.steps:
        if step.status in (STEP_STATUS_RUNNING, STEP_STATUS_WAITING):
            step.status = STEP_STATUS_FAILED
            step.failure.CopyFrom(Failure(error_class=error_class, message=text_content(message)))


def _end(folder: RunFolder, envelope: Envelope, event: Any, status: RunStatus.ValueType) -> None:
    _add_lost(folder, event)
    folder.run.status = status
    folder.run.ended_unix_nano = envelope.time_unix_nano
    folder.run.waiting_for = folder.run.waiting_path = ""
    no_longer_asked(folder.run)


_FOLDS = cast(
    "dict[str, Callable[[RunFolder, Envelope, Any], None]]",
    {
        "requested": _requested,
        "started": _started,
        "context_assembled": _assembled,
        "model_call_begun": _model_begun,
        "model_replied": _model_replied,
        "tool_arguments_checked": _arguments_checked,
        "tool_result_checked": _result_checked,
        "tool_intended": _tool_intended,
        "tool_succeeded": _tool_succeeded,
        "tool_failed": _tool_failed,
        "tool_outcome_unknown": _tool_unknown,
        "child_started": _child_started,
        "child_finished": _child_finished,
        "suspended": _suspended,
        "resumed": _resumed,
        "completed": _completed,
        "failed": _failed,
        "compensated": _compensated,
        "cancelled": _cancelled,
        **HUMAN_FOLDS,
    },
)
