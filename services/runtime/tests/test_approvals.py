"""Calls and questions that are put to humans: nothing happens before they decide, and what they decide happens once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.runs_pb2 import APPROVAL_STATE_EXPIRED
from astromesh.v1.signal_pb2 import AnswerSignal, CancelSignal, DecideSignal, Signal
from astromesh.v1.values_pb2 import ToolCall, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import fold
from astromesh_core.service import Platform
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices, completion

from .conftest import StartWorker

SCHEMA = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}})


def write(name: str = "act") -> ToolSpec:
    return ToolSpec(
        name=name, effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=500, parameters_json=SCHEMA, type="internal"
    )


def declared(name: str = "act", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "internal", "function": "m:f", "effect": "write", **more}


async def send(bus: Bus, run: Aggregate, signal_id: str, principal: str = "ann", **body: Any) -> None:
    await bus.signals.send("default", Signal(id=signal_id, aggregate_id=run.id, principal=principal, **body))


def decision(path: str = "2.1", *, approved: bool = True, **more: Any) -> DecideSignal:
    return DecideSignal(path=path, approved=approved, **more)


def only(events: list[StoredEvent], kind: str) -> Any:
    return next(getattr(event.envelope.run, kind) for event in events if event.envelope.run.WhichOneof("event") == kind)


async def finished(bus: Bus, run: Aggregate) -> list[StoredEvent]:
    events = await events_until(bus, run)
    assert replay([event.envelope for event in events]).identical
    return events


async def test_a_call_waits_for_its_approval_and_is_made_once(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    services.tools.specs = (write(),)
    await put_agent(bus, tools=[declared(approval="always", approval_role="admin")])
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    asked = only(waiting, "approval_requested")
    assert (asked.path, asked.call.name, asked.role) == ("2.1", "act", "admin")
    assert only(waiting, "suspended").reason == ev.SUSPENSION_REASON_APPROVAL
    assert services.tools.calls == []
    approval = decision(effect_sha256=asked.effect_sha256, comment=text_content("fine"))
    await send(bus, run, "d1", decide=approval)
    await send(bus, run, "d1", decide=approval)
    await send(bus, run, "d2", "bob", decide=decision(approved=False))
    events = await finished(bus, run)
    assert kinds(events)[-1] == "completed"
    assert kinds(events).count("approval_decided") == 1
    assert len(services.tools.calls) == 1
    decided = fold(event.envelope for event in events).approvals[0]
    assert (decided.principal, decided.comment.text) == ("ann", "fine")


async def test_a_denied_call_is_never_made_and_the_model_reads_why(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    services.tools.specs = (write(),)
    await put_agent(bus, tools=[declared(approval="always")])
    run = await admit(bus)
    await events_until(bus, run, "suspended")
    await send(bus, run, "d1", decide=decision(approved=False, comment=text_content("too dear")))
    events = await finished(bus, run)
    assert services.tools.calls == []
    assert "tool_intended" not in kinds(events)
    failure = only(events, "tool_failed").failure
    assert failure.error_class == "denied"
    assert "too dear" in services.router.requests[-1].messages[-1].content.text


async def test_edited_arguments_are_what_runs_and_the_model_is_told(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    services.tools.specs = (write(),)
    await put_agent(bus, tools=[declared(approval="always")])
    run = await admit(bus)
    await events_until(bus, run, "suspended")
    await send(bus, run, "d1", decide=decision(edited_arguments=text_content('{"a": 7}')))
    events = await finished(bus, run)
    assert services.tools.calls[0].call.arguments.text == '{"a": 7}'
    assert only(events, "tool_intended").call.arguments.text == '{"a": 7}'
    assert '{"a": 7}' in services.router.requests[-1].messages[-1].content.text


async def test_an_edit_is_within_what_is_permitted(bus: Bus, services: FakeServices, worker: Platform) -> None:
    services.tools.specs = (write(),)
    denied = {"deny": [{"tool": "act", "when": "a > 5"}]}
    await put_agent(bus, tools=[declared(approval="always")], permissions=denied)
    run = await admit(bus)
    await events_until(bus, run, "suspended")
    await send(bus, run, "d1", decide=decision(edited_arguments=text_content('{"a": 7}')))
    events = await finished(bus, run)
    assert only(events, "tool_failed").failure.error_class == "denied"
    assert services.tools.calls == []


@pytest.mark.parametrize(("when", "asked"), [("a > 0", True), ("a > 5", False), ("a > a.b", True), ("b > 0", True)])
async def test_a_condition_decides_who_is_asked_and_one_that_fails_asks(
    bus: Bus, services: FakeServices, worker: Platform, when: str, asked: bool
) -> None:
    services.tools.specs = (write(),)
    await put_agent(bus, tools=[declared(approval={"when": when})])
    events = await events_until(bus, await admit(bus), "suspended")
    assert ("approval_requested" in kinds(events)) is asked
    assert len(services.tools.calls) == (0 if asked else 1)


async def test_arguments_that_would_be_refused_bother_nobody(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    spec = write()
    spec.parameters_json = json.dumps({"type": "object", "properties": {"a": {"type": "string"}}})
    services.tools.specs = (spec,)
    await put_agent(bus, tools=[declared(approval="always")])
    events = await finished(bus, await admit(bus))
    assert only(events, "tool_failed").failure.error_class == "invalid-input"
    assert only(events, "tool_failed").call.name == "act", "nothing else in the log names what was called"
    assert "approval_requested" not in kinds(events)


async def test_what_nobody_approves_in_time_is_denied_by_a_timer_that_outlives_its_worker(
    bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    services.tools.specs = (write(),)
    await put_agent(bus, tools=[declared(approval="always", approval_timeout=1.5)])
    async with start_worker(bus, services, "worker-1"):
        run = await admit(bus)
        await events_until(bus, run, "suspended")
    await asyncio.sleep(1.6)
    async with start_worker(bus, services, "worker-2"):
        events = await finished(bus, run)
    assert services.tools.calls == []
    assert only(events, "approval_decided").expired
    assert fold(event.envelope for event in events).approvals[0].state == APPROVAL_STATE_EXPIRED
    assert "in time" in only(events, "tool_failed").failure.message.text


async def two_writes(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Two calls in one step, then an answer."""
    if any(message.tool_calls for message in request.messages):
        yield completion("done")
        return
    calls = [ToolCall(id=f"c{n}", name="act", arguments=text_content(f'{{"a": {n}}}')) for n in (1, 2)]
    yield completion("", *calls)


async def test_several_calls_of_a_step_are_asked_at_once_and_decided_one_by_one(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    services.tools.specs = (write(),)
    services.router.parts = two_writes
    await put_agent(bus, tools=[declared(approval="always")])
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    assert kinds(waiting).count("approval_requested") == 2
    await send(bus, run, "second", decide=decision("2.2", approved=False))
    await events_until(bus, run, "approval_decided")
    await send(bus, run, "first", decide=decision("2.1"))
    events = await finished(bus, run)
    assert [call.path for call in services.tools.calls] == ["2.1"]
    assert kinds(events)[-1] == "completed"


async def test_a_decision_about_another_call_means_nothing(bus: Bus, services: FakeServices, worker: Platform) -> None:
    services.tools.specs = (write(),)
    await put_agent(bus, tools=[declared(approval="always")])
    run = await admit(bus)
    await events_until(bus, run, "suspended")
    await send(bus, run, "other-hash", decide=decision(effect_sha256=b"another"))
    await send(bus, run, "other-path", decide=decision("9.9"))
    await send(bus, run, "an-answer", answer=AnswerSignal(path="2.1", answer=text_content("yes")))
    await send(bus, run, "stop", cancel=CancelSignal(reason="enough"))
    events = await finished(bus, run)
    assert "approval_decided" not in kinds(events)
    assert kinds(events)[-1] == "cancelled"
    assert services.tools.calls == []


async def desk(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """The parent asks the researcher, who echoes."""
    told = [message.content.text for message in request.messages if message.role == values.ROLE_TOOL]
    if request.agent.name == "researcher":
        yield completion(f"about {request.messages[-1].content.text}")
    elif told:
        yield completion(told[-1])
    else:
        yield completion("", ToolCall(id="c1", name="research", arguments=text_content('{"query": "gold"}')))


async def test_a_child_run_is_started_once_it_is_approved_and_asked_what_the_approver_made_of_it(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    services.router.parts = desk
    effect = values.TOOL_EFFECT_KIND_IDEMPOTENT
    services.tools.specs = (ToolSpec(name="research", type="agent", agent="researcher", effect=effect),)
    await put_agent(bus, "researcher")
    await put_agent(bus, tools=[{"name": "research", "type": "agent", "agent": "researcher", "approval": "always"}])
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    assert "child_started" not in kinds(waiting)
    await send(bus, run, "d1", decide=decision(edited_arguments=text_content('{"query": "lead"}')))
    events = await finished(bus, run)
    answer = only(events, "completed").answer.text
    assert answer.endswith("about lead")
    assert "A human changed the arguments" in answer


async def asks(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """A question to the user, then its answer."""
    told = [message.content.text for message in request.messages if message.role == values.ROLE_TOOL]
    if told:
        yield completion(f"you said {told[-1]}")
        return
    question = json.dumps({"question": "which one?", "choices": ["red", "blue"]})
    yield completion("", ToolCall(id="c1", name="ask_human", arguments=text_content(question)))


@pytest.mark.parametrize("declined", [False, True])
async def test_a_question_waits_for_its_answer_and_asks_no_tool(
    bus: Bus, services: FakeServices, worker: Platform, declined: bool
) -> None:
    services.router.parts = asks
    services.tools.specs = (ToolSpec(name="ask_human", effect=values.TOOL_EFFECT_KIND_READ, type="builtin"),)
    await put_agent(bus, tools=[{"name": "ask_human", "type": "builtin"}])
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    asked = only(waiting, "question_asked")
    assert asked.question.text == "which one?"
    assert [choice.text for choice in asked.choices] == ["red", "blue"]
    assert only(waiting, "suspended").reason == ev.SUSPENSION_REASON_QUESTION
    await send(bus, run, "a1", answer=AnswerSignal(path="2.1", answer=text_content("blue"), declined=declined))
    events = await finished(bus, run)
    assert services.tools.calls == []
    answer = only(events, "completed").answer.text
    assert ("the user will not answer: blue" in answer) if declined else (answer == "you said blue")
