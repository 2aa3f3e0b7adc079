"""Metrics of runs, read off the events as they are stored: what is counted is what the log holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from astromesh.v1.run_events_pb2 import PassageChecked, RunEvent, SuspensionReason
from astromesh.v1.values_pb2 import VERDICT_ACTION_ALLOW, Verdict, VerdictAction
from astromesh_core.bus.positions import Position
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.runs import TERMINAL_EVENTS
from astromesh_core.telemetry.metrics import OTHER, Metrics
from astromesh_runtime.recorded import Recorded

_STAGES = {
    "input_checked": "input",
    "tool_arguments_checked": "tool_arguments",
    "tool_result_checked": "tool_results",
    "output_checked": "output",
}
_TOOL_OUTCOMES = {"tool_succeeded": "ok", "tool_failed": "failed", "tool_outcome_unknown": "unknown"}


class RunMeter:
    """Counts one run's stored events. Given to its writer as `on_stored`."""

    def __init__(self, metrics: Metrics, agent: str, requested_unix_nano: int, recorded: Recorded) -> None:
        self._metrics = metrics
        self._agent = metrics.agent(agent)
        self._requested = requested_unix_nano
        self._offered = set[str]() if recorded.started is None else {tool.name for tool in recorded.started.tools}
        self._tools = {path: intents[-1].call.name for path, intents in recorded.intents.items()}
        self._tools |= {path: started.call.name for path, started in recorded.children.items()}

    def __call__(self, events: Sequence[StoredEvent], position: Position) -> None:
        """Takes a commit's events."""
        del position
        for event in events:
            kind = event.envelope.run.WhichOneof("event") or ""
            meter = _METERS.get(kind)
            if meter is not None:
                meter(self, kind, event.envelope.run)
            elif kind in TERMINAL_EVENTS:
                self._ended(kind, event.envelope.time_unix_nano)

    def started(self, kind: str, event: RunEvent) -> None:
        """Remembers what the tools are called: whatever else a model asks for is its own words, and no label."""
        del kind
        self._offered = {tool.name for tool in event.started.tools}

    def intended(self, kind: str, event: RunEvent) -> None:
        """Remembers which tool is called at a path: outcomes name only the path."""
        del kind
        self._tools[event.tool_intended.path] = event.tool_intended.call.name

    def tool_settled(self, kind: str, event: RunEvent) -> None:
        """Counts a tool call."""
        outcome: Any = getattr(event, kind)
        # A call that was denied was never intended.
        name = self._tools.get(outcome.path, "") or event.tool_failed.call.name
        tool = self._metrics.tool(name) if name in self._offered else OTHER
        self._metrics.tool_calls.labels(tool, _TOOL_OUTCOMES[kind]).inc()
        self._metrics.tool_seconds.labels(tool).observe(outcome.timing.duration_nano / 1e9)

    def asked(self, kind: str, event: RunEvent) -> None:
        """Remembers as which tool an agent is asked at a path."""
        del kind
        self._tools[event.child_started.path] = event.child_started.call.name

    def answered(self, kind: str, event: RunEvent) -> None:
        """Counts a call of an agent as one of its tool. What a pattern asks by itself is a run, and counted as that."""
        del kind
        finished = event.child_finished
        name = self._tools.get(finished.path, "") or finished.call.name
        if name in self._offered:
            outcome = "failed" if finished.HasField("failure") else "ok"
            self._metrics.tool_calls.labels(self._metrics.tool(name), outcome).inc()

    def checked(self, kind: str, event: RunEvent) -> None:
        """Counts the verdicts of guardrails."""
        self._count(_STAGES[kind], getattr(event, kind).verdicts)
        if kind == "tool_result_checked":
            self._passages(event.tool_result_checked.checked_passages)

    def assembled(self, kind: str, event: RunEvent) -> None:
        """Counts what was said of passages found for the prompt."""
        del kind
        self._passages(event.context_assembled.checked_passages)

    def _passages(self, checked: Iterable[PassageChecked]) -> None:
        for each in checked:
            self._count("tool_results", each.verdicts)

    def _count(self, stage: str, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            action = VerdictAction.Name(verdict.action).removeprefix("VERDICT_ACTION_").lower()
            if verdict.dry_run and verdict.action != VERDICT_ACTION_ALLOW:
                action = f"would_{action}"
            self._metrics.guard_verdicts.labels(stage, verdict.rule, action).inc()

    def replied(self, kind: str, event: RunEvent) -> None:
        """Counts the verdicts on whether a model may be called."""
        del kind
        if event.model_replied.verdicts:
            self._count("model_call", event.model_replied.verdicts)

    def suspended(self, kind: str, event: RunEvent) -> None:
        """Counts a suspension."""
        del kind
        reason = SuspensionReason.Name(event.suspended.reason).removeprefix("SUSPENSION_REASON_").lower()
        self._metrics.runs_suspended.labels(reason).inc()

    def _ended(self, status: str, time_unix_nano: int) -> None:
        self._metrics.runs_finished.labels(self._agent, status).inc()
        self._metrics.run_seconds.labels(self._agent).observe((time_unix_nano - self._requested) / 1e9)


_METERS: dict[str, Callable[[RunMeter, str, RunEvent], None]] = {
    "started": RunMeter.started,
    "tool_intended": RunMeter.intended,
    "tool_succeeded": RunMeter.tool_settled,
    "tool_failed": RunMeter.tool_settled,
    "tool_outcome_unknown": RunMeter.tool_settled,
    "child_started": RunMeter.asked,
    "child_finished": RunMeter.answered,
    "input_checked": RunMeter.checked,
    "output_checked": RunMeter.checked,
    "tool_arguments_checked": RunMeter.checked,
    "tool_result_checked": RunMeter.checked,
    "context_assembled": RunMeter.assembled,
    "model_replied": RunMeter.replied,
    "suspended": RunMeter.suspended,
}
