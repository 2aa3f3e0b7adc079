"""The past that a fork shares: another run's outcomes up to an event, as the fork's own events. Pure.

The fork's saga is run with these outcomes, whatever its question, prompt or agent are now: what was answered then
counts as answered, and each event gets the identity that its effect has in the fork. So the fork's log stands and
replays by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import (
    ContextAssembled,
    Fork,
    InputChecked,
    RunEvent,
    RunRequested,
    RunStarted,
    RunTotals,
    ToolSucceeded,
)
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, Charge, ToolCall, ToolResult
from astromesh_core.errors import InvalidInput, NotFound
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import (
    AssembleContext,
    CallModel,
    CallTools,
    CheckArguments,
    CheckInput,
    CheckOutput,
    CheckResults,
    Gather,
    SagaEffect,
)
from astromesh_runtime.guarding import Member
from astromesh_runtime.patterns.catalogue import pattern_function
from astromesh_runtime.recorded import Diverged, Recorded
from astromesh_runtime.replay import plan_of
from astromesh_runtime.saga import saga

Rendered = Callable[[ContextAssembled], str]
"""The system prompt of the fork's agent, with what the other run knew."""

_SETTLED = frozenset({"tool_succeeded", "tool_failed", "child_finished", "model_replied"})
_FRAME: dict[type, str] = {CheckInput: "input_checked", CheckOutput: "output_checked"}
_CHECKS = {"tool_arguments_checked": CheckArguments, "tool_result_checked": CheckResults}


def simulates(requested: RunRequested) -> bool:
    """Whether the run may change nothing in the world."""
    return (requested.HasField("fork") and not requested.fork.live) or requested.lineage.simulated


def shared_past(
    source: Sequence[Envelope],
    requested: RunRequested,
    started: RunStarted,
    rendered: Rendered,
    checked: InputChecked | None = None,
) -> list[RunEvent]:
    """What the fork's log begins with after `started`: of the source's events (from index 0 to the last one shared,
    contents fetched) all that its saga asks for, in the order in which it does.

    `checked`: what the agent's rules say of another question. Raises NotFound for an edited result whose step is not in
    that past, InvalidInput for one that the fork does not come to with what it shares.
    """
    past = _Past.of(source, requested.fork)
    if checked is not None:
        past.frame["input_checked"] = RunEvent(input_checked=checked)
    events = _answered(past, requested, started, rendered)
    reached = {event.tool_succeeded.path for event in events}
    for result in requested.fork.results:
        if result.path not in reached:
            raise InvalidInput(
                f"the edited result of step {result.path} is not come to: an earlier edit leads elsewhere, or must be "
                "checked first"
            )
    return events


def _answered(past: _Past, requested: RunRequested, started: RunStarted, rendered: Rendered) -> list[RunEvent]:
    function = pattern_function(started.pattern, started.pattern_version)
    if function is None:
        return []
    events, recorded = list[RunEvent](), Recorded.of([_envelope(0, RunEvent(requested=requested))])
    recorded.add(_envelope(1, RunEvent(started=started)))
    generator, kept = saga(plan_of(requested, started), function), 0
    try:
        effect = next(generator)
        while True:
            kept = len(events)
            for event in past.answers(effect, rendered):
                recorded.add(_envelope(recorded.events, event))
                events.append(event)
            outcome = recorded.outcome(effect)
            if outcome is None:
                return events
            effect = generator.send(outcome)
    except StopIteration:
        return events
    except Diverged:
        # What the edits lead to asks for something else here: from here on it is performed.
        return events[:kept]
    finally:
        generator.close()


@dataclass(slots=True)
class _Past:
    """Another run's events, by what they answer."""

    fork: Fork
    frame: dict[str, RunEvent] = field(default_factory=dict[str, RunEvent])
    steps: dict[str, dict[str, RunEvent]] = field(default_factory=dict[str, dict[str, RunEvent]])
    """By path, then by kind: the last one."""

    @classmethod
    def of(cls, source: Sequence[Envelope], fork: Fork) -> _Past:
        past = cls(fork)
        for envelope in source:
            kind = envelope.run.WhichOneof("event") or ""
            path: str = getattr(getattr(envelope.run, kind), "path", "")
            if path:
                past.steps.setdefault(path, {})[kind] = envelope.run
            else:
                past.frame[kind] = envelope.run
        for result in fork.results:
            if not past.steps.get(result.path, {}).keys() & {"tool_succeeded", "tool_failed"}:
                raise NotFound(f"no tool has answered at step {result.path} by event {fork.index}")
        return past

    def answers(self, effect: SagaEffect, rendered: Rendered) -> Iterator[RunEvent]:
        """The events that answer an effect, as the fork records them; none where this past has no whole answer."""
        if isinstance(effect, Gather):
            for each in effect.effects:
                yield from self.answers(each, rendered)
        elif isinstance(effect, CallModel):
            yield from self._step(effect.path, effect.sha256)
        elif isinstance(effect, CallTools):
            for member in effect.calls:
                yield from self._refused(member) if member.is_refused else self._called(member)
        elif isinstance(effect, CheckArguments | CheckResults):
            for member in effect.calls:
                yield from self._check(member.path, type(effect))
        elif isinstance(effect, AssembleContext):
            yield from self._context(rendered)
        elif type(effect) in _FRAME:
            yield from self._of_frame(_FRAME[type(effect)])

    def _of_frame(self, kind: str) -> Iterator[RunEvent]:
        if kind in self.frame:
            yield _copy(self.frame[kind])

    def _context(self, rendered: Rendered) -> Iterator[RunEvent]:
        before = self.frame["started"].started.agent if "started" in self.frame else None
        for event in self._of_frame("context_assembled"):
            if before != self.fork.agent:
                event.context_assembled.system_prompt.CopyFrom(text_content(rendered(event.context_assembled)))
            yield event

    def _check(self, path: str, of: type[CheckArguments | CheckResults]) -> Iterator[RunEvent]:
        if of is CheckResults and any(result.path == path for result in self.fork.results):
            # What was said of the source's result says nothing of this one.
            return
        for kind, event in self.steps.get(path, {}).items():
            if _CHECKS.get(kind) is of:
                yield _copy(event)

    def _called(self, member: Member) -> Iterator[RunEvent]:
        return self._step(member.path, member.sha256, member.call)

    def _refused(self, member: Member) -> Iterator[RunEvent]:
        """That no such call was made; nothing, where the source made it."""
        known = self.steps.get(member.path, {})
        return iter(()) if known.keys() & {"tool_intended", "child_started"} else self._called(member)

    def _step(self, path: str, sha256: bytes, call: ToolCall | None = None) -> Iterator[RunEvent]:
        known = self.steps.get(path, {})
        if not known.keys() & _SETTLED:
            return
        for kind in ("model_call_begun", "tool_intended", "child_started", *sorted(known.keys() & _SETTLED)):
            if kind in known:
                yield self._edited(path, kind, _owned(kind, _copy(known[kind]), sha256), call)

    def _edited(self, path: str, kind: str, event: RunEvent, call: ToolCall | None) -> RunEvent:
        edits: Mapping[str, str] = {result.path: plain(result.output) for result in self.fork.results}
        if path not in edits or call is None or kind not in ("tool_succeeded", "tool_failed"):
            return event
        settled = getattr(event, kind)
        result = ToolResult(tool_call_id=call.id, name=call.name, output=text_content(edits[path]))
        succeeded = ToolSucceeded(path=path, effect_sha256=settled.effect_sha256, result=result, timing=settled.timing)
        return RunEvent(tool_succeeded=succeeded)


def _owned(kind: str, event: RunEvent, sha256: bytes) -> RunEvent:
    getattr(event, kind).effect_sha256 = sha256
    if kind == "model_call_begun":
        event.model_call_begun.prompt_tokens = 0
        _unbilled(event, kind)
    elif kind == "model_replied":
        charge = event.model_replied.charge
        # Who answered stays known; the run that asked was billed.
        event.model_replied.charge.CopyFrom(Charge(provider=charge.provider, model=charge.model))
        _unbilled(event, kind)
    elif kind == "tool_intended":
        # The other run's deed, which this one neither repeats nor undoes.
        event.tool_intended.effect = TOOL_EFFECT_KIND_READ
    elif kind == "child_finished":
        event.child_finished.totals.CopyFrom(RunTotals())
    return event


def _unbilled(event: RunEvent, kind: str) -> None:
    body = getattr(event, kind)
    for name in ("lost_usage", "partial_charges"):
        body.ClearField(name)


def _copy(event: RunEvent) -> RunEvent:
    copy = RunEvent()
    copy.CopyFrom(event)
    return copy


def _envelope(index: int, event: RunEvent) -> Envelope:
    return Envelope(index=index, run=event)
