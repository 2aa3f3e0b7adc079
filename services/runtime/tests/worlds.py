"""A world for runs in tests: answers their effects from a script, and keeps the log as the engine would."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, Image, Message, ToolCall, ToolResult
from astromesh_core.events.contents import text_content
from astromesh_runtime.effects import (
    AssembleContext,
    CallAgent,
    CallModel,
    CallTool,
    CallTools,
    CheckInput,
    CheckOutput,
    Gather,
    PatternFunction,
    Remember,
    RememberSummary,
    SagaEffect,
    ToolOutcome,
)
from astromesh_runtime.patterns.react.v1 import react
from astromesh_runtime.recorded import Recorded
from astromesh_runtime.replay import plan_of
from astromesh_runtime.saga import Completed, Ending, saga

CALL = ToolCall(id="c1", name="add", arguments=text_content('{"a": 1}'))


@dataclass
class World:
    """Answers effects from a script, and keeps the log as the engine would."""

    script: Callable[[SagaEffect | CallTool | CallAgent], Any]
    frame: ev.RunStarted = field(default_factory=ev.RunStarted)
    query: str = "what is it?"
    images: tuple[Image, ...] = ()
    log: list[Envelope] = field(default_factory=list[Envelope])
    effects: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    asked: list[CallModel] = field(default_factory=list[CallModel])
    children: list[CallAgent] = field(default_factory=list[CallAgent])
    lineage: ev.Lineage | None = None

    def begin(self) -> World:
        requested = ev.RunRequested(
            agent="a",
            query=text_content(self.query),
            digest_key=text_content(base64.b64encode(b"k" * 16).decode()),
            images=self.images,
            lineage=self.lineage,
        )
        self.add(ev.RunEvent(requested=requested))
        self.frame.pattern, self.frame.pattern_version = self.frame.pattern or "react", 1
        self.frame.max_iterations = self.frame.max_iterations or 4
        self.add(ev.RunEvent(started=self.frame))
        return self

    def add(self, event: ev.RunEvent) -> None:
        self.log.append(Envelope(aggregate_id="07-x", index=len(self.log), run=event))

    def drive(self, pattern: PatternFunction = react) -> Ending:
        """Goes on from wherever the log stands."""
        recorded = Recorded.of(self.log)
        assert recorded.started is not None
        generator = saga(plan_of(recorded.requested, recorded.started), pattern)
        try:
            effect = next(generator)
            while True:
                self._note(effect)
                outcome = recorded.outcome(effect)
                effect = generator.send(self._perform(effect, recorded) if outcome is None else outcome)
        except StopIteration as stop:
            return self._end(stop.value)

    def _note(self, effect: SagaEffect) -> None:
        if isinstance(effect, CallModel):
            self.effects.append((effect.path, effect.sha256))
            self.asked.append(effect)
        elif isinstance(effect, CallTools):
            self.effects.extend((member.path, member.sha256) for member in effect.calls)
        elif isinstance(effect, Gather):
            for each in effect.effects:
                self._note(each)

    def _perform(self, effect: SagaEffect, recorded: Recorded) -> Any:
        if isinstance(effect, CallTools):
            return [self._perform_tool(member, recorded) for member in effect.calls]
        if isinstance(effect, Gather):
            known = [recorded.outcome(each) for each in effect.effects]
            pairs = zip(effect.effects, known, strict=True)
            return [self._perform(each, recorded) if outcome is None else outcome for each, outcome in pairs]
        outcome = self.script(effect)
        if isinstance(effect, CallModel):
            outcome = _copied(outcome)
            self.add(ev.RunEvent(model_call_begun=ev.ModelCallBegun(path=effect.path, effect_sha256=effect.sha256)))
            outcome.path, outcome.effect_sha256 = effect.path, effect.sha256
            self.add(ev.RunEvent(model_replied=outcome))
        else:
            self.add(_event(outcome))
        return outcome

    def _perform_tool(self, member: CallTool | CallAgent, recorded: Recorded) -> ToolOutcome:
        known = recorded.tool_outcome(member)
        if known is not None:
            return known
        if isinstance(member, CallAgent):
            begun = ev.ChildStarted(path=member.path, effect_sha256=member.sha256, agent=member.agent)
            self.add(ev.RunEvent(child_started=begun))
        elif member.refused is not None:
            refused = ev.ToolFailed(path=member.path, effect_sha256=member.sha256, failure=member.refused)
            self.add(ev.RunEvent(tool_failed=refused))
            return refused
        else:
            intended = ev.ToolIntended(path=member.path, effect_sha256=member.sha256, call=member.call)
            self.add(ev.RunEvent(tool_intended=intended))
        outcome = _copied(self.script(member))
        outcome.path, outcome.effect_sha256 = member.path, member.sha256
        self.add(_event(outcome))
        return outcome

    def _end(self, ending: Ending) -> Ending:
        if isinstance(ending, Completed):
            completed = ev.RunCompleted(answer=text_content(ending.answer), handed_to=ending.handed_to)
            self.add(ev.RunEvent(completed=completed))
        else:
            self.add(ev.RunEvent(failed=ev.RunFailed(failure=ending.failure)))
        return ending


def _copied(outcome: Any) -> Any:
    """A script may give the same outcome twice."""
    copied = type(outcome)()
    copied.CopyFrom(outcome)
    return copied


def _event(outcome: Any) -> ev.RunEvent:
    names = {
        ev.InputChecked: "input_checked",
        ev.ContextAssembled: "context_assembled",
        ev.OutputChecked: "output_checked",
        ev.MemoryStored: "memory_stored",
        ev.ToolSucceeded: "tool_succeeded",
        ev.ToolFailed: "tool_failed",
        ev.ChildFinished: "child_finished",
    }
    return ev.RunEvent(**{names[type(outcome)]: outcome})


def says(text: str, *calls: ToolCall) -> ev.ModelReplied:
    return ev.ModelReplied(message=Message(role=ROLE_ASSISTANT, content=text_content(text), tool_calls=calls))


def frame_outcome(effect: SagaEffect | CallTool | CallAgent) -> Any:
    match effect:
        case CheckInput(text):
            return ev.InputChecked(text=text_content(text.replace("secret", "[GONE]")))
        case AssembleContext():
            return ev.ContextAssembled(system_prompt=text_content("be kind"))
        case CheckOutput(text):
            return ev.OutputChecked(text=text_content(text.upper()))
        case Remember(turn):
            return ev.MemoryStored(turn=turn)
        case RememberSummary(text, through):
            summary = ev.ConversationSummary(text=text_content(text), through_run_id=through)
            return ev.MemoryStored(summary=summary)
        case _:
            raise AssertionError(effect)


def scripted(*outcomes: Any) -> Callable[[SagaEffect | CallTool | CallAgent], Any]:
    left = iter(outcomes)

    def script(effect: SagaEffect | CallTool | CallAgent) -> Any:
        return next(left) if isinstance(effect, CallModel | CallTool) else frame_outcome(effect)

    return script


def succeeded(text: str) -> ev.ToolSucceeded:
    return ev.ToolSucceeded(result=ToolResult(output=text_content(text)))
