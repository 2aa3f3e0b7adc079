"""What a run's log already holds, found by effect: recovery and replay feed it back, nothing is done again. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_CHILD,
    ApprovalRequested,
    ChildFinished,
    ChildStarted,
    ContextAssembled,
    InputChecked,
    MemoryStored,
    ModelReplied,
    OutputChecked,
    QuestionAsked,
    RunEvent,
    RunRequested,
    RunStarted,
    RunTotals,
    Suspended,
    ToolArgumentsChecked,
    ToolIntended,
    ToolOutcomeUnknown,
    ToolResultChecked,
)
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_WRITE
from astromesh_core.errors import Bug, NotSupported
from astromesh_core.events.billing import Bill
from astromesh_core.events.canonical import KeyedDigest
from astromesh_core.events.contents import plain
from astromesh_core.events.masks import Masks
from astromesh_core.events.runs import TERMINAL_EVENTS
from astromesh_runtime.effects import (
    AssembleContext,
    CallAgent,
    CallModel,
    CallTool,
    CallTools,
    CheckArguments,
    CheckInput,
    CheckOutput,
    CheckResults,
    Gather,
    Remember,
    RememberSummary,
    SagaEffect,
    SingleEffect,
    ToolOutcome,
)
from astromesh_runtime.interventions import ASKING_EVENTS, INTERVENTIONS, Interventions
from astromesh_runtime.saga import Outcome

_MODEL_EVENTS = frozenset({"model_call_begun", "model_replied"})
_TOOL_EVENTS = frozenset({"tool_intended", "tool_succeeded", "tool_failed", "tool_outcome_unknown"})
_CHILD_EVENTS = frozenset({"child_started", "child_finished"})
_CHECK_EVENTS = frozenset({"tool_arguments_checked", "tool_result_checked"})


def digester_of(requested: RunRequested) -> KeyedDigest:
    """What every digest of the run's personal content is made with."""
    return KeyedDigest(base64.b64decode(plain(requested.digest_key)))


class Diverged(Exception):
    """The pattern asked for something else than the log holds: it is not the pattern that wrote this log."""

    def __init__(self, index: int, path: str, recorded: str, replayed: str) -> None:
        super().__init__(f"event {index}, step {path or '-'}: recorded {recorded}, replayed {replayed}")
        self.index = index
        self.path = path
        self.recorded = recorded
        self.replayed = replayed


@dataclass(frozen=True, slots=True)
class _Mark:
    """The first event of an effect: where it stands and what it is."""

    index: int
    kind: str
    sha256: bytes


@dataclass(slots=True)
class Recorded:
    """A run's events by what they answer. Grows by `add`, in log order."""

    requested: RunRequested = field(default_factory=RunRequested)
    started: RunStarted | None = None
    input_checked: InputChecked | None = None
    context: ContextAssembled | None = None
    output_checked: OutputChecked | None = None
    memory: MemoryStored | None = None
    summary: MemoryStored | None = None
    summary_index: int = 0
    suspended: Suspended | None = None
    ended: RunEvent | None = None
    requested_unix_nano: int = 0
    traceparent: str = ""
    epoch: int = 0
    events: int = 0
    waited_nano: int = 0
    """Time spent suspended, by which the run's deadline moves. For children it moves by what they waited themselves."""
    bill: Bill = field(default_factory=Bill)
    signals: set[str] = field(default_factory=set[str])
    begun: dict[str, int] = field(default_factory=dict[str, int])
    replies: dict[str, ModelReplied] = field(default_factory=dict[str, ModelReplied])
    intents: dict[str, list[ToolIntended]] = field(default_factory=dict[str, list[ToolIntended]])
    outcomes: dict[str, ToolOutcome] = field(default_factory=dict[str, ToolOutcome])
    unknown: set[str] = field(default_factory=set[str])
    children: dict[str, ChildStarted] = field(default_factory=dict[str, ChildStarted])
    spent: RunTotals = field(default_factory=RunTotals)
    """By children that have ended."""
    arguments_checked: dict[str, ToolArgumentsChecked] = field(default_factory=dict[str, ToolArgumentsChecked])
    results_checked: dict[str, ToolResultChecked] = field(default_factory=dict[str, ToolResultChecked])
    masks: Masks = field(default_factory=Masks)
    interventions: Interventions = field(default_factory=Interventions)
    """What humans were asked, and what was undone."""
    marks: dict[str, _Mark] = field(default_factory=dict[str, _Mark])
    indexes: dict[str, int] = field(default_factory=dict[str, int])
    """Of each kind of event outside the effects, where the last one stands."""
    _suspended_at: int = 0
    _children_waited: int = 0

    @classmethod
    def of(cls, events: Iterable[Envelope]) -> Recorded:
        """The record of these events, from index 0 on, contents fetched."""
        recorded = cls()
        for envelope in events:
            recorded.add(envelope)
        return recorded

    @classmethod
    def of_tools(cls, events: Iterable[Envelope]) -> Recorded:
        """Only what these events say of calls and children: of a log that this release may be unable to read."""
        recorded = cls()
        for envelope in events:
            kind = envelope.run.WhichOneof("event")
            if kind in _TOOL_EVENTS:
                recorded._add_effect(kind, envelope)
            elif kind in _CHILD_EVENTS:
                recorded._add_child(kind, envelope)
        return recorded

    def add(self, envelope: Envelope) -> None:
        """Takes the next event. Raises NotSupported for a kind that a later release wrote."""
        if envelope.index != self.events:
            raise Bug(f"{envelope.aggregate_id}: expected event {self.events}, found {envelope.index}")
        self.events += 1
        if envelope.signal_id:
            self.signals.add(envelope.signal_id)
        self.bill.add(envelope.run)
        kind = envelope.run.WhichOneof("event") or ""
        if kind in _MODEL_EVENTS or kind in _TOOL_EVENTS:
            self._add_effect(kind, envelope)
        elif kind in _CHILD_EVENTS:
            self._add_child(kind, envelope)
        elif kind in _CHECK_EVENTS:
            self._add_check(kind, envelope.run, envelope.index)
        elif kind in INTERVENTIONS:
            self._add_intervention(kind, envelope)
        elif kind in TERMINAL_EVENTS:
            self.ended = envelope.run
        else:
            self._add_frame(kind, envelope)

    def resume(self, now: int) -> None:
        """The run goes on at this time; its deadline moves by what it waited."""
        for_children = self.suspended is not None and self.suspended.reason == SUSPENSION_REASON_CHILD
        self.suspended = None
        self.waited_nano += self._children_waited if for_children else now - self._suspended_at
        self._children_waited = 0

    def start_child(self, started: ChildStarted) -> None:
        """A child is about to be admitted."""
        self.children[started.path] = started

    def finish_child(self, finished: ChildFinished) -> None:
        """What came of a child, whether it was started or refused."""
        self.outcomes[finished.path] = finished
        self.spent.cost_nanos += finished.totals.cost_nanos
        self.spent.tokens += finished.totals.tokens
        # Children of a step wait at the same time.
        self._children_waited = max(self._children_waited, finished.totals.waited_nano)

    def open_children(self) -> list[ChildStarted]:
        """Those that were started and of whose end nothing is known."""
        return [started for path, started in self.children.items() if path not in self.outcomes]

    def outcome(self, effect: SagaEffect) -> Outcome | None:
        """The recorded outcome of an effect; None where it, or one of several, has none yet. Raises Diverged."""
        if isinstance(effect, Gather):
            outcomes = [self.outcome(each) for each in effect.effects]
            return None if any(outcome is None for outcome in outcomes) else cast("Outcome", outcomes)
        return self._outcome(effect)

    def _outcome(self, effect: SingleEffect) -> Outcome | None:
        match effect:
            case CheckInput():
                return self.input_checked
            case AssembleContext():
                return self.context
            case CheckOutput():
                return self.output_checked
            case CallModel():
                self._same(effect.path, "model", effect.sha256)
                return self.replies.get(effect.path)
            case CallTools():
                return self._tools(effect)
            case CheckArguments():
                return self._arguments(effect)
            case CheckResults():
                return self._results(effect)
            case RememberSummary():
                return self.summary
            case Remember():
                return self.memory

    def cut_writes(self) -> list[RunEvent]:
        """What the log must still say of writes that a crash cut, before it ends: nobody knows what became of them."""
        cut = [
            intents[-1]
            for path, intents in self.intents.items()
            if intents[-1].effect == TOOL_EFFECT_KIND_WRITE and path not in self.outcomes and path not in self.unknown
        ]
        return [
            RunEvent(
                tool_outcome_unknown=ToolOutcomeUnknown(path=it.path, effect_sha256=it.effect_sha256, reason="crash")
            )
            for it in cut
        ]

    def unvisited(self, visited: set[str]) -> _Unvisited | None:
        """The first recorded effect that a replay did not ask for."""
        left = [(mark.index, path, mark.kind) for path, mark in self.marks.items() if path not in visited]
        return _Unvisited(*min(left)) if left else None

    def tool_outcome(self, effect: CallTool | CallAgent) -> ToolOutcome | None:
        """The recorded outcome of one call of a step. Raises Diverged."""
        self._same(effect.path, "agent" if isinstance(effect, CallAgent) else "tool", effect.sha256)
        return self.outcomes.get(effect.path)

    def _tools(self, effect: CallTools) -> list[ToolOutcome] | None:
        self._none_at(effect.path, "tools")
        self._none_at(f"{effect.path}.{len(effect.calls) + 1}", "no such call")
        outcomes = [self.tool_outcome(member) for member in effect.calls]
        known = [outcome for outcome in outcomes if outcome is not None]
        return known if len(known) == len(outcomes) else None

    def _arguments(self, effect: CheckArguments) -> list[ToolArgumentsChecked] | None:
        found = [self.arguments_checked.get(member.path) for member in effect.calls]
        known = [check for check in found if check is not None]
        for member, check in zip(effect.calls, found, strict=True):
            if check is not None and check.call != member.call:
                raise Diverged(self.indexes["tool_arguments_checked"], member.path, "another call checked", "this call")
        return known if len(known) == len(found) else None

    def _results(self, effect: CheckResults) -> list[ToolResultChecked | None] | None:
        found = [self.results_checked.get(member.path) for member in effect.calls]
        awaited = [check for member, check in zip(effect.calls, found, strict=True) if not member.is_refused]
        return None if None in awaited else found

    def _same(self, path: str, kind: str, sha256: bytes) -> None:
        if kind == "model":
            self._none_at(f"{path}.1", "model")
        mark = self.marks.get(path)
        if mark is not None and (mark.kind, mark.sha256) != (kind, sha256):
            recorded = f"{mark.kind} effect {mark.sha256.hex()[:16]}"
            raise Diverged(mark.index, path, recorded, f"{kind} effect {sha256.hex()[:16]}")

    def _none_at(self, path: str, replayed: str) -> None:
        mark = self.marks.get(path)
        if mark is not None:
            raise Diverged(mark.index, path, f"{mark.kind} effect", replayed)

    def _add_effect(self, kind: str, envelope: Envelope) -> None:
        event = getattr(envelope.run, kind)
        path = cast("str", event.path)
        of_model = kind in _MODEL_EVENTS
        self.marks.setdefault(path, _Mark(envelope.index, "model" if of_model else "tool", event.effect_sha256))
        if kind == "model_call_begun":
            self.begun[path] = self.begun.get(path, 0) + 1
        elif kind == "model_replied":
            self.replies[path] = event
        elif kind == "tool_intended":
            self.intents.setdefault(path, []).append(event)
        elif kind == "tool_outcome_unknown":
            self.unknown.add(path)
        else:
            self.outcomes[path] = event
            self.unknown.discard(path)

    def _add_child(self, kind: str, envelope: Envelope) -> None:
        event: ChildStarted | ChildFinished = getattr(envelope.run, kind)
        self.marks.setdefault(event.path, _Mark(envelope.index, "agent", event.effect_sha256))
        if isinstance(event, ChildStarted):
            self.start_child(event)
        else:
            self.finish_child(event)

    def _add_check(self, kind: str, run: RunEvent, index: int) -> None:
        self.indexes[kind] = index
        if kind == "tool_arguments_checked":
            self.arguments_checked[run.tool_arguments_checked.path] = run.tool_arguments_checked
        else:
            self.results_checked[run.tool_result_checked.path] = run.tool_result_checked
            self.masks.learn(run.tool_result_checked.masked)

    def _add_intervention(self, kind: str, envelope: Envelope) -> None:
        if kind in ASKING_EVENTS:
            asked: ApprovalRequested | QuestionAsked = getattr(envelope.run, kind)
            tools = () if self.started is None else self.started.tools
            of = "agent" if any(tool.agent and tool.name == asked.call.name for tool in tools) else "tool"
            self.marks.setdefault(asked.path, _Mark(envelope.index, of, asked.effect_sha256))
        elif kind == "compensation_started":
            # Whatever it waited for, it goes on to its end.
            self.suspended = None
        self.interventions.add(envelope.run)

    def _add_frame(self, kind: str, envelope: Envelope) -> None:
        run = envelope.run
        self.indexes[kind] = envelope.index
        match kind:
            case "requested":
                self.requested, self.traceparent = run.requested, envelope.traceparent
                self.requested_unix_nano = envelope.time_unix_nano
            case "input_checked":
                self.input_checked = run.input_checked
                self.masks.learn(run.input_checked.masked)
            case "context_assembled":
                self.context = run.context_assembled
                self.masks.learn(run.context_assembled.masked)
            case "output_checked":
                self.output_checked = run.output_checked
            case "memory_stored":
                if run.memory_stored.HasField("summary"):
                    self.summary, self.summary_index = run.memory_stored, envelope.index
                else:
                    self.memory = run.memory_stored
            case _:
                self._add_lifecycle(kind, envelope)

    def _add_lifecycle(self, kind: str, envelope: Envelope) -> None:
        run = envelope.run
        match kind:
            case "claimed":
                self.epoch = run.claimed.epoch
            case "started":
                self.started, self.epoch = run.started, run.started.epoch
            case "timed_out":
                pass
            case "suspended":
                if self.suspended is None:
                    self._suspended_at = envelope.time_unix_nano
                self.suspended = run.suspended
            case "resumed":
                self.resume(envelope.time_unix_nano)
            case _:
                where = f"{envelope.aggregate_id}:{envelope.index}"
                raise NotSupported(f"{where} is an event of a kind that this release cannot read: {kind!r}")


@dataclass(frozen=True, slots=True)
class _Unvisited:
    index: int
    path: str
    kind: str
