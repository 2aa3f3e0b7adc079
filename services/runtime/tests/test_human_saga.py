"""Humans in the saga: from any prefix of a log in which they were asked, and steps undone, the same effects follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.signal_pb2 import DecideSignal, Signal
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_WRITE, Failure, ToolCall
from astromesh_core.events.contents import text_content
from astromesh_runtime.approvals import decision_event
from astromesh_runtime.effects import CallModel, CallTool, SagaEffect
from astromesh_runtime.interventions import Interventions
from astromesh_runtime.recorded import Recorded
from astromesh_runtime.replay import replay
from astromesh_runtime.saga import Completed, Ending

from .worlds import World, frame_outcome, says, succeeded

BEGUN_AGAIN = frozenset({"model_call_begun", "tool_intended", "step_compensation_begun", "suspended", "resumed"})
"""What a crash may leave in the log twice, or not at all."""


@dataclass
class AskingWorld(World):
    """A world in which humans decide on calls, by path, and a run that failed is undone."""

    decisions: dict[str, str] = field(default_factory=dict[str, str])

    def _perform_tool(self, member: Any, recorded: Recorded) -> Any:
        known = recorded.tool_outcome(member)
        if known is not None:
            return known
        decided = self._decided(member, recorded)
        if decided is None or decided.approved:
            return self._called(member, decided)
        failure = Failure(error_class="denied", message=text_content("no"))
        outcome = ev.ToolFailed(path=member.path, effect_sha256=member.sha256, failure=failure)
        self.add(ev.RunEvent(tool_failed=outcome))
        return outcome

    def _decided(self, member: CallTool, recorded: Recorded) -> ev.ApprovalDecided | None:
        word = self.decisions.get(member.path, "free")
        if word == "free":
            return None
        ask = recorded.interventions.asks.get(member.path)
        if ask is None:
            requested = ev.ApprovalRequested(path=member.path, effect_sha256=member.sha256, call=member.call)
            self.add(ev.RunEvent(approval_requested=requested))
            self._wait(member.path)
        elif ask.decision is not None:
            assert isinstance(ask.decision, ev.ApprovalDecided)
            return ask.decision
        body = DecideSignal(path=member.path, approved=word != "deny")
        if word == "edit":
            body.edited_arguments.CopyFrom(text_content("{}"))
        event = decision_event(Recorded.of(self.log).interventions, Signal(id=member.path, decide=body))
        assert event is not None
        self.add(event)
        self.add(ev.RunEvent(resumed=ev.Resumed(path=member.path)))
        return event.approval_decided

    def _wait(self, path: str) -> None:
        self.add(ev.RunEvent(suspended=ev.Suspended(reason=ev.SUSPENSION_REASON_APPROVAL, path=path)))

    def _called(self, member: CallTool, decided: ev.ApprovalDecided | None) -> Any:
        call = ToolCall(id=member.call.id, name=member.call.name, arguments=member.call.arguments)
        outcome: Any = ev.ToolSucceeded()
        outcome.CopyFrom(self.script(member))
        if decided is not None and decided.HasField("edited_arguments"):
            call.arguments.CopyFrom(decided.edited_arguments)
            outcome.edited_arguments.CopyFrom(decided.edited_arguments)
        outcome.path, outcome.effect_sha256 = member.path, member.sha256
        intended = ev.ToolIntended(
            path=member.path, effect_sha256=member.sha256, call=call, effect=TOOL_EFFECT_KIND_WRITE
        )
        self.add(ev.RunEvent(tool_intended=intended))
        self.add(ev.RunEvent(tool_succeeded=outcome))
        return outcome

    def _end(self, ending: Ending) -> Ending:
        recorded = Recorded.of(self.log)
        if isinstance(ending, Completed) or not recorded.intents:
            return super()._end(ending)
        undoing = recorded.interventions.compensation
        if undoing is None:
            undoing = ev.CompensationStarted(cause=ending.failure, paths=[*reversed(recorded.intents)])
            self.add(ev.RunEvent(compensation_started=undoing))
        for path in undoing.paths:
            if path not in recorded.interventions.undone:
                self.add(ev.RunEvent(step_compensation_begun=ev.StepCompensationBegun(path=path)))
                self.add(ev.RunEvent(step_compensated=ev.StepCompensated(path=path)))
        self.add(ev.RunEvent(compensated=ev.RunCompensated(cause=undoing.cause)))
        return ending


def told(log: list[Envelope]) -> list[ev.RunEvent]:
    """What a log says, however often it was taken up."""
    return [item.run for item in log if item.run.WhichOneof("event") not in BEGUN_AGAIN]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
models = st.lists(st.integers(0, 2), min_size=4, max_size=4)
words = st.sampled_from(["free", "approve", "deny", "edit"])


@settings(max_examples=120, deadline=None)
@given(models, st.dictionaries(st.sampled_from(["2.1", "2.2", "4.1", "4.2"]), words), texts, st.data())
def test_recovery_after_any_prefix_asks_nobody_twice_and_comes_to_the_same_end(
    calls: list[int], decisions: dict[str, str], text: str, data: st.DataObject
) -> None:
    def script(effect: SagaEffect | Any) -> Any:
        if isinstance(effect, CallModel):
            asked = [
                ToolCall(id=f"c{effect.path}{n}", name="act", arguments=text_content(f'{{"n": {n}}}'))
                for n in range(calls[int(effect.path) // 2])
            ]
            return says(text, *asked)
        return succeeded(text) if isinstance(effect, CallTool) else frame_outcome(effect)

    def world_of(log: list[Envelope]) -> AskingWorld:
        return AskingWorld(script, log=list(log), decisions=decisions)

    whole = world_of([]).begin()
    ending = whole.drive()
    assert replay(whole.log).identical
    cut = data.draw(st.integers(2, len(whole.log) - 1))
    assert replay(whole.log[:cut]).identical
    recovered = world_of(whole.log[:cut])
    assert recovered.drive() == ending
    assert told(recovered.log) == told(whole.log)


def test_an_end_that_the_recorded_cause_contradicts_is_caught() -> None:
    world = AskingWorld(
        lambda effect: (
            says("", ToolCall(id=f"c{effect.path}", name="act", arguments=text_content("{}")))
            if isinstance(effect, CallModel)
            else succeeded("1")
            if isinstance(effect, CallTool)
            else frame_outcome(effect)  # pyright: ignore[reportArgumentType]  # whatever is left of the frame
        )
    )
    world.begin().drive()
    assert world.log[-1].run.HasField("compensated")
    assert replay(world.log).identical
    world.log[-1].run.compensated.cause.error_class = "another"
    difference = replay(world.log).difference
    assert difference is not None
    assert "another" in difference.recorded
    world.log[-1].run.compensated.cause.error_class = "another"
    started = next(item.run for item in world.log if item.run.HasField("compensation_started"))
    started.compensation_started.imposed = True
    assert replay(world.log).identical


def test_what_a_human_is_asked_of_is_about_the_call_that_the_pattern_makes() -> None:
    interventions = Interventions()
    requested = ev.ApprovalRequested(path="2.1", effect_sha256=b"a", call=ToolCall(name="act"))
    interventions.add(ev.RunEvent(approval_requested=requested))
    other = Signal(id="1", decide=DecideSignal(path="2.1", effect_sha256=b"b", approved=True))
    same = Signal(id="2", decide=DecideSignal(path="2.1", effect_sha256=b"a", approved=True))
    assert decision_event(interventions, other) is None
    event = decision_event(interventions, same)
    assert event is not None
    interventions.add(event)
    assert decision_event(interventions, same) is None
    assert interventions.pending() == []
