"""Runs that end badly undo what they did; what cannot be undone waits for a human, and what is left is said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.signal_pb2 import (
    RESOLVED_OUTCOME_FAILED,
    RESOLVED_OUTCOME_SUCCEEDED,
    CancelSignal,
    ResolveSignal,
    Signal,
)
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import Failure, ToolCall, ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import STATUS_NAMES, fold
from astromesh_core.service import Platform
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices, completion

WRITE = values.TOOL_EFFECT_KIND_WRITE
IDEMPOTENT = values.TOOL_EFFECT_KIND_IDEMPOTENT
UNDO = {"tool": "undo", "arguments": {"n": "{{ n }}", "id": "{{ result.id }}"}, "pause_seconds": 0, "attempts": 2}


def agent(undo_effect: str = "idempotent", **compensate: Any) -> dict[str, Any]:
    act = {"name": "act", "type": "internal", "function": "m:f", "compensate": {**UNDO, **compensate}}
    undo = {"name": "undo", "type": "internal", "function": "m:g", "effect": undo_effect}
    return {"tools": [act, undo, {"name": "mail", "type": "internal", "function": "m:h"}]}


def catalogue(undo_effect: values.ToolEffectKind.ValueType = IDEMPOTENT) -> tuple[ToolSpec, ...]:
    kinds = (("act", WRITE), ("undo", undo_effect), ("mail", WRITE))
    return tuple(ToolSpec(name=name, effect=effect, timeout_ms=200) for name, effect in kinds)


async def acts_twice_then_fails(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Two writes one after the other, a mail, and no model any more."""
    rounds = sum(1 for message in request.messages if message.tool_calls)
    if rounds == 3:
        raise Unavailable("no provider answered")
    name = "mail" if rounds == 2 else "act"
    yield completion("", ToolCall(id=f"c{rounds}", name=name, arguments=text_content(json.dumps({"n": rounds}))))


async def answers(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """Every call answers with an id of its own."""
    output = text_content(json.dumps({"id": f"of {request.path}"}))
    return ExecuteToolResponse(result=ToolResult(tool_call_id=request.call.id, name=request.call.name, output=output))


async def undo_is_refused(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """What undoes a step never can."""
    if request.call.name == "undo":
        return ExecuteToolResponse(failure=Failure(error_class="denied", message=text_content("closed")))
    return await answers(request)


async def nobody_answers(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """What undoes a step gives no answer."""
    if request.call.name == "undo":
        raise TimedOut("the connection broke")
    return await answers(request)


def prepared(services: FakeServices, execute: Any = answers) -> None:
    services.tools.specs = catalogue()
    services.tools.execute = execute
    services.router.parts = acts_twice_then_fails


def undone(services: FakeServices) -> list[tuple[str, dict[str, Any]]]:
    return [(it.path, json.loads(it.call.arguments.text)) for it in services.tools.calls if it.call.name == "undo"]


def status(events: list[StoredEvent]) -> str:
    return STATUS_NAMES[fold(event.envelope for event in events).status]


def same_again(events: list[StoredEvent]) -> bool:
    return replay([event.envelope for event in events]).identical


async def settle(bus: Bus, run: Aggregate, path: str, outcome: Any, name: str) -> None:
    resolve = ResolveSignal(path=path, outcome=outcome, result=text_content("by hand"))
    await bus.signals.send("default", Signal(id=name, aggregate_id=run.id, principal="ann", resolve=resolve))


async def test_what_a_failed_run_did_is_undone_the_last_first(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    prepared(services)
    await put_agent(bus, **agent())
    events = await events_until(bus, await admit(bus))
    assert status(events) == "compensated"
    assert undone(services) == [("4.1", {"n": 1, "id": "of 4.1"}), ("2.1", {"n": 0, "id": "of 2.1"})]
    assert kinds(events)[-6:] == [
        "compensation_started",
        *("step_compensation_begun", "step_compensated") * 2,
        "compensated",
    ]
    run = fold(event.envelope for event in events)
    assert run.failure.error_class == "unavailable"
    assert run.warnings == ["step 6.1 (mail) was not undone: its tool declares no way to undo it"]
    assert same_again(events)


async def test_a_run_without_anything_to_undo_fails_as_ever(bus: Bus, services: FakeServices, worker: Platform) -> None:
    prepared(services, undo_is_refused)
    spec = agent()
    del spec["tools"][0]["compensate"]
    await put_agent(bus, **spec)
    assert kinds(await events_until(bus, await admit(bus)))[-1] == "failed"


@pytest.mark.parametrize(
    ("outcome", "left"), [(RESOLVED_OUTCOME_SUCCEEDED, []), (RESOLVED_OUTCOME_FAILED, ["ann left it"])]
)
async def test_a_step_that_cannot_be_undone_waits_for_a_human(
    bus: Bus, services: FakeServices, worker: Platform, outcome: Any, left: list[str]
) -> None:
    prepared(services, undo_is_refused)
    await put_agent(bus, **agent())
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    assert status(waiting) == "needs-human"
    assert kinds(waiting).count("step_compensation_begun") == 2
    services.tools.execute = answers
    await settle(bus, run, "4.1", outcome, "by hand")
    events = await events_until(bus, run)
    assert status(events) == "compensated"
    assert undone(services)[-1][0] == "2.1"
    found = [step.reason for step in events[-1].envelope.run.compensated.left if step.name == "act"]
    assert found == left
    assert same_again(events)


async def test_a_write_that_undoes_is_not_made_again_where_nobody_knows(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    prepared(services, nobody_answers)
    services.tools.specs = catalogue(WRITE)
    await put_agent(bus, **agent("write"))
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    assert len(undone(services)) == 1
    assert fold(event.envelope for event in waiting).waiting_for == "compensation"
    await bus.signals.send("default", Signal(id="stop", aggregate_id=run.id, cancel=CancelSignal(reason="enough")))
    events = await events_until(bus, run)
    assert status(events) == "cancelled"
    left = {step.path: step.reason for step in events[-1].envelope.run.cancelled.left}
    assert left["4.1"] == "it could not be undone"
    assert same_again(events)


async def waits_for_ever(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """A write, then a call that goes wrong in the middle of a step."""
    rounds = sum(1 for message in request.messages if message.tool_calls)
    yield completion("", ToolCall(id=f"c{rounds}", name="act", arguments=text_content(json.dumps({"n": rounds}))))


async def loses_the_second(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """The second write gives no answer."""
    if request.call.name == "act" and request.path == "4.1":
        raise TimedOut("the connection broke")
    return await answers(request)


@pytest.mark.parametrize("when_unknown", [False, True])
async def test_a_cancelled_run_undoes_an_unknown_step_only_where_that_is_safe(
    bus: Bus, services: FakeServices, worker: Platform, when_unknown: bool
) -> None:
    prepared(services, loses_the_second)
    services.router.parts = waits_for_ever
    await put_agent(bus, **agent(when_unknown=when_unknown, arguments={"n": "{{ n }}"}))
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    assert status(waiting) == "needs-human"
    await bus.signals.send("default", Signal(id="stop", aggregate_id=run.id, principal="ann", cancel=CancelSignal()))
    events = await events_until(bus, run)
    ended = events[-1].envelope.run.compensated
    assert [path for path, _ in undone(services)] == (["4.1", "2.1"] if when_unknown else ["2.1"])
    assert [step.reason for step in ended.left] == ([] if when_unknown else ["nobody knows whether it was done"])
    assert events[-1].envelope.run.compensated.cause.error_class == "cancelled"
    started = next(it.envelope for it in events if it.envelope.run.HasField("compensation_started"))
    assert (started.signal_id, started.run.compensation_started.principal) == ("stop", "ann")
    assert same_again(events)


async def test_a_step_that_is_found_to_be_done_is_undone_with_the_others(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    states = iter(("pending", "pending", "done"))

    async def found_at_last(request: ExecuteToolRequest) -> ExecuteToolResponse:
        if request.call.name != "mail":
            return await loses_the_second(request)
        return ExecuteToolResponse(result=ToolResult(output=text_content(json.dumps({"id": "R", "is": next(states)}))))

    prepared(services, found_at_last)
    services.router.parts = waits_for_ever
    spec = agent()
    spec["tools"][2]["effect"] = "read"
    looked_up = {"tool": "mail", "succeeded": "answer.is == 'done'", "attempts": 9, "pause_seconds": 0.3}
    spec["tools"][0]["reconcile"] = looked_up
    await put_agent(bus, **spec)
    run = await admit(bus)
    await events_until(bus, run, "step_reconciled")
    await bus.signals.send("default", Signal(id="stop", aggregate_id=run.id, cancel=CancelSignal(reason="enough")))
    events = await events_until(bus, run)
    assert status(events) == "compensated"
    seen = kinds(events)
    assert seen.index("compensation_started") < seen.index("tool_succeeded", seen.index("tool_outcome_unknown"))
    assert undone(services) == [("4.1", {"n": 1, "id": "R"}), ("2.1", {"n": 0, "id": "of 2.1"})]
    assert list(events[-1].envelope.run.compensated.left) == []
    assert same_again(events)


async def test_a_cancel_while_the_run_is_at_work_undoes_what_it_did(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    prepared(services)

    async def acts_then_thinks(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if any(message.tool_calls for message in request.messages):
            await bus.signals.send("default", Signal(id="stop", aggregate_id=request.run_id, cancel=CancelSignal()))
            await events_until(bus, run, "compensated")
        yield completion("", ToolCall(id="c1", name="act", arguments=text_content('{"n": 1}')))

    services.router.parts = acts_then_thinks
    await put_agent(bus, **agent())
    run = await admit(bus)
    events = await events_until(bus, run)
    assert status(events) == "compensated"
    assert [path for path, _ in undone(services)] == ["2.1"]
    assert same_again(events)
