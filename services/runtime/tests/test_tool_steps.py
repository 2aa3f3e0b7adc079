"""Steps of several tool calls: what is denied, what is made at once, what in turn, and what a run's end leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson

from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.runs_pb2 import STEP_KIND_TOOL
from astromesh.v1.signal_pb2 import RESOLVED_OUTCOME_SUCCEEDED, ResolveSignal, Signal
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import ROLE_TOOL, Failure, StoredValue, ToolCall, ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import TimedOut
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.runs import fold
from astromesh_core.service import Platform
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices, Parts, completion

READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
WRITE = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)
AMOUNT = "amount > 100"


def asks(*calls: tuple[str, object]) -> Parts:
    """A model that asks for these calls in one step, then answers with what it read."""

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        results = [plain(message.content) for message in request.messages if message.role == ROLE_TOOL]
        if results:
            yield completion(" / ".join(results))
            return
        made = (
            ToolCall(id=f"c{number}", name=name, arguments=text_content(orjson.dumps(arguments).decode()))
            for number, (name, arguments) in enumerate(calls)
        )
        yield completion("", *made)

    return parts


async def echoes(request: ExecuteToolRequest) -> ExecuteToolResponse:
    await asyncio.sleep(0.02)
    return ExecuteToolResponse(result=ToolResult(output=text_content(f"done {plain(request.call.arguments)}")))


async def test_a_call_that_is_not_permitted_is_an_answer_without_an_intent(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.tools.specs, services.tools.execute = (WRITE, READ), echoes
    services.router.parts = asks(("pay", {"amount": 500}), ("pay", {"amount": 5}), ("look", {}))
    rule = {"tool": "p*y", "when": AMOUNT, "roles": ["user"], "reason": "ask an admin"}
    await put_agent(bus, permissions={"deny": [rule]})
    events = [event.envelope for event in await events_until(bus, await admit(bus, role="user"))]
    denied = [event.run.tool_failed for event in events if event.run.HasField("tool_failed")]
    assert [(failed.path, failed.failure.error_class) for failed in denied] == [("2.1", "denied")]
    assert {event.run.tool_intended.path for event in events if event.run.HasField("tool_intended")} == {"2.2", "2.3"}
    assert [plain(call.call.arguments) for call in services.tools.calls] == ['{"amount":5}', "{}"]
    step = next(step for step in fold(events).steps if step.path == "2.1")
    assert (step.kind, step.name, plain(step.input)) == (STEP_KIND_TOOL, "pay", '{"amount":500}')
    told = events[-1].run.completed.answer.text
    assert '"error":"denied"' in told
    assert "ask an admin" in told
    assert replay(events).identical
    services.tools.calls.clear()
    await events_until(bus, await admit(bus, role="admin"))
    assert len(services.tools.calls) == 3


async def test_reads_are_made_at_once_and_a_step_with_a_write_in_its_order(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    under_way, most = 0, list[int]()

    async def counts(request: ExecuteToolRequest) -> ExecuteToolResponse:
        nonlocal under_way
        under_way += 1
        most.append(under_way)
        await asyncio.sleep(0.05)
        under_way -= 1
        return await echoes(request)

    services.tools.specs, services.tools.execute = (WRITE, READ), counts
    await put_agent(bus)
    services.router.parts = asks(("look", 1), ("look", 2), ("look", 3))
    at_once = await events_until(bus, await admit(bus))
    assert max(most) == 3
    most.clear()
    services.tools.calls.clear()
    services.router.parts = asks(("look", 1), ("pay", 2), ("look", 3))
    in_turn = await events_until(bus, await admit(bus))
    assert most == [1, 1, 1]
    assert [plain(call.call.arguments) for call in services.tools.calls] == ["1", "2", "3"]
    assert kinds(in_turn)[5:11] == ["tool_intended", "tool_succeeded"] * 3
    for events in (at_once, in_turn):
        assert events[-1].envelope.run.completed.answer.text == "done 1 / done 2 / done 3"
        assert replay([event.envelope for event in events]).identical


async def test_what_follows_an_unknown_write_waits_until_it_is_settled(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def first_is_lost(request: ExecuteToolRequest) -> ExecuteToolResponse:
        if request.path == "2.1":
            raise TimedOut("the connection broke")
        return await echoes(request)

    services.tools.specs, services.tools.execute = (WRITE,), first_is_lost
    services.router.parts = asks(("pay", 1), ("pay", 2))
    await put_agent(bus)
    run = await admit(bus)
    waiting = await events_until(bus, run, "suspended")
    assert kinds(waiting)[-3:] == ["tool_intended", "tool_outcome_unknown", "suspended"]
    assert len(services.tools.calls) == 1
    resolve = ResolveSignal(path="2.1", outcome=RESOLVED_OUTCOME_SUCCEEDED, result=text_content("paid"))
    await bus.signals.send("default", Signal(id="s", aggregate_id=run.id, principal="tester", resolve=resolve))
    events = await events_until(bus, run)
    assert events[-1].envelope.run.completed.answer.text == "paid / done 2"
    assert [call.path for call in services.tools.calls] == ["2.1", "2.2"]
    assert replay([event.envelope for event in events]).identical


async def test_no_call_of_a_step_begins_after_the_runs_time(bus: Bus, worker: Platform, services: FakeServices) -> None:
    async def slow(request: ExecuteToolRequest) -> ExecuteToolResponse:
        await asyncio.sleep(0.6)
        return await echoes(request)

    services.tools.specs, services.tools.execute = (WRITE,), slow
    services.router.parts = asks(("pay", 1), ("pay", 2))
    await put_agent(bus, orchestration={"timeout_seconds": 0.5})
    events = await events_until(bus, await admit(bus))
    assert kinds(events)[-4:] == ["tool_intended", "tool_succeeded", "timed_out", "failed"]
    assert len(services.tools.calls) == 1
    assert replay([event.envelope for event in events]).identical


def in_steps(*steps: tuple[str, object]) -> Parts:
    """A model that asks for one of these calls after the other, then answers with what it read last."""

    async def parts(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        results = [plain(message.content) for message in request.messages if message.role == ROLE_TOOL]
        if len(results) == len(steps):
            yield completion(results[-1])
            return
        name, arguments = steps[len(results)]
        text = text_content(orjson.dumps(arguments).decode())
        yield completion("", ToolCall(id=f"c{len(results)}", name=name, arguments=text))

    return parts


async def test_a_model_that_gives_wrong_arguments_is_told_what_is_wrong_and_tries_again_within_its_iterations(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def wants_two(request: ExecuteToolRequest) -> ExecuteToolResponse:
        if plain(request.call.arguments) == "2":
            return await echoes(request)
        told = text_content("a: 1 is less than the minimum of 2")
        return ExecuteToolResponse(failure=Failure(error_class="invalid-input", message=told))

    services.tools.specs, services.tools.execute = (WRITE,), wants_two
    services.router.parts = in_steps(("pay", 1), ("pay", 2))
    await put_agent(bus, orchestration={"max_iterations": 3})
    events = await events_until(bus, await admit(bus))
    told = [plain(message.content) for message in services.router.requests[1].messages if message.role == ROLE_TOOL]
    assert "a: 1 is less than the minimum of 2" in told[0]
    assert events[-1].envelope.run.completed.answer.text == "done 2"
    services.router.parts = in_steps(*[("pay", 1)] * 9)
    events = await events_until(bus, await admit(bus))
    assert events[-1].envelope.run.failed.failure.error_class == "limit-exceeded"
    assert kinds(events).count("tool_failed") == 3
    assert replay([event.envelope for event in events]).identical


async def test_a_tool_that_reads_results_is_given_those_of_its_run_that_were_cut_before_a_wait_too(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    whole = StoredValue(sha256=b"w" * 32, size_bytes=9)

    async def cuts(request: ExecuteToolRequest) -> ExecuteToolResponse:
        if request.call.name == "pay":
            raise TimedOut("the connection broke")
        answer = await echoes(request)
        if request.call.name == "look":
            answer.result.whole.CopyFrom(whole)
        return answer

    more = ToolSpec(name="more", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000, reads_results=True)
    services.tools.specs, services.tools.execute = (WRITE, READ, more), cuts
    services.router.parts = in_steps(("look", 1), ("more", 1), ("pay", 1), ("more", 2))
    await put_agent(bus)
    run = await admit(bus)
    await events_until(bus, run, "suspended")
    resolve = ResolveSignal(path="6.1", outcome=RESOLVED_OUTCOME_SUCCEEDED, result=text_content("paid"))
    await bus.signals.send("default", Signal(id="s", aggregate_id=run.id, principal="tester", resolve=resolve))
    events = [event.envelope for event in await events_until(bus, run)]
    given = {call.path: [(cut.path, cut.whole) for cut in call.cut_results] for call in services.tools.calls}
    assert given == {"2.1": [], "4.1": [("2.1", whole)], "6.1": [], "8.1": [("2.1", whole)]}
    assert fold(events).steps[1].whole == whole
    assert replay(events).identical
