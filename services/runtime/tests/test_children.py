"""Runs that other runs start: what comes of them, who waits for whom, and that no crash starts one twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_APPROVAL,
    SUSPENSION_REASON_CHILD,
    ChildFinished,
    ChildStarted,
    Resumed,
    RunEvent,
    RunRequested,
    RunStarted,
    RunTotals,
    Suspended,
    SuspensionReason,
)
from astromesh.v1.signal_pb2 import CancelSignal, Signal
from astromesh.v1.values_pb2 import (
    ROLE_TOOL,
    TOOL_EFFECT_KIND_IDEMPOTENT,
    TOOL_EFFECT_KIND_READ,
    ToolCall,
    ToolSpec,
)
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate, run_aggregate
from astromesh_core.events.chain import StoredEvent, verify_chain
from astromesh_core.events.contents import plain, text_content
from astromesh_core.service import Platform
from astromesh_runtime.recorded import Recorded
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, ended, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices, completion

from .conftest import StartWorker

RESEARCH = ToolSpec(name="research", type="agent", agent="researcher", effect=TOOL_EFFECT_KIND_IDEMPOTENT)
LOOK = ToolSpec(name="look", effect=TOOL_EFFECT_KIND_READ, timeout_ms=1000)


def asks(number: int = 1, query: str = "who?") -> ToolCall:
    return ToolCall(id=f"c{number}", name="research", arguments=text_content(f'{{"query": "{query}"}}'))


async def desk(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """The parent asks the researcher twice and looks once, then tells what they said; the researcher echoes."""
    if request.agent.name == "researcher":
        yield completion(f"about {plain(request.messages[-1].content)}")
        return
    results = [plain(message.content) for message in request.messages if message.role == ROLE_TOOL]
    if results:
        yield completion(" | ".join(results))
        return
    yield completion("", asks(1, "one"), ToolCall(id="l", name="look", arguments=text_content("{}")), asks(2, "two"))


def started(events: list[StoredEvent]) -> list[ChildStarted]:
    return [event.envelope.run.child_started for event in events if event.envelope.run.HasField("child_started")]


def finished(events: list[StoredEvent]) -> list[ChildFinished]:
    return [event.envelope.run.child_finished for event in events if event.envelope.run.HasField("child_finished")]


@pytest.fixture
async def agents(bus: Bus, services: FakeServices) -> FakeServices:
    services.tools.specs = (RESEARCH, LOOK)
    services.router.parts = desk
    await put_agent(bus)
    await put_agent(bus, "researcher")
    return services


async def family(bus: Bus, run: Aggregate) -> tuple[list[StoredEvent], list[Aggregate]]:
    events = await events_until(bus, run)
    return events, [run_aggregate("default", child.child_run_id) for child in started(events)]


async def test_children_of_a_step_work_at_once_and_their_answers_are_results(
    bus: Bus, worker: Platform, agents: FakeServices
) -> None:
    run = await admit(bus, user=text_content("ada"), user_key="k", role="user")
    events, children = await family(bus, run)
    assert plain(events[-1].envelope.run.completed.answer) == "about one | 2 | about two"
    told = kinds(events)
    assert told.count("child_started") == told.count("child_finished") == 2
    assert told.index("suspended") < told.index("child_finished") < told.index("resumed")
    assert replay([event.envelope for event in events]).identical
    assert verify_chain([event.data for event in events]).ok
    for child, path in zip(children, ("2.1", "2.3"), strict=True):
        request = (await events_until(bus, child))[0].envelope.run.requested
        above = request.lineage.ancestors
        assert [ancestor.run_id for ancestor in above] == [run.id]
        assert (request.lineage.path, plain(request.user), request.role) == (path, "ada", "user")
    assert len({child.id for child in children}) == 2


async def test_a_run_that_waits_for_a_child_holds_no_place(bus: Bus, worker: Platform, agents: FakeServices) -> None:
    gate = asyncio.Event()

    async def slow(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if request.agent.name == "researcher":
            await gate.wait()
        async for part in desk(request):
            yield part

    agents.router.parts = slow
    run = await admit(bus)
    events = await events_until(bus, run, "suspended")
    suspended = events[-1].envelope.run.suspended
    assert list(suspended.child_run_ids) == [child.child_run_id for child in started(events)]
    gate.set()
    assert plain((await ended(bus, run)).answer) == "about one | 2 | about two"


async def test_the_end_of_one_child_is_kept_while_another_is_waited_for(
    bus: Bus, worker: Platform, agents: FakeServices
) -> None:
    gate = asyncio.Event()

    async def second_is_slow(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if request.agent.name == "researcher" and plain(request.messages[-1].content) == "two":
            await gate.wait()
        async for part in desk(request):
            yield part

    agents.router.parts = second_is_slow
    run = await admit(bus)
    events = await events_until(bus, run, "child_finished")
    assert [plain(child.answer) for child in finished(events)] == ["about one"]
    gate.set()
    assert plain((await ended(bus, run)).answer) == "about one | 2 | about two"


async def test_a_failed_child_is_an_outcome_that_the_parent_works_with(
    bus: Bus, worker: Platform, agents: FakeServices
) -> None:
    async def missing(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        results = [plain(message.content) for message in request.messages if message.role == ROLE_TOOL]
        yield completion("so: " + results[0]) if results else completion("", asks())

    agents.tools.specs = (ToolSpec(name="research", type="agent", agent="nobody"),)
    agents.router.parts = missing
    events = await events_until(bus, await admit(bus))
    assert "there is no agent 'nobody'" in plain(events[-1].envelope.run.completed.answer)
    assert finished(events)[0].failure.error_class == "not-found"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"query": ""}', "query is missing"),
        ("[]", "must be an object"),
        ("{", "not JSON"),
        ('{"query": "x", "to": 1}', "no parameter 'to'"),
    ],
)
async def test_arguments_that_are_no_question_are_told_to_the_model_and_start_nothing(
    bus: Bus, worker: Platform, agents: FakeServices, arguments: str, told: str
) -> None:
    async def wrong(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        results = [plain(message.content) for message in request.messages if message.role == ROLE_TOOL]
        call = ToolCall(id="c1", name="research", arguments=text_content(arguments))
        yield completion(results[0]) if results else completion("", call)

    agents.router.parts = wrong
    events = await events_until(bus, await admit(bus))
    assert told in plain(events[-1].envelope.run.completed.answer)
    assert not started(events)
    assert replay([event.envelope for event in events]).identical


async def test_parts_that_go_on_at_once_run_out_of_time_together(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    async def endless(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        await asyncio.Event().wait()
        yield completion("never")

    services.router.parts = endless
    await put_agent(bus, orchestration={"pattern": "parallel_fan_out", "timeout_seconds": 0.5})
    events = await events_until(bus, await admit(bus))
    assert events[-1].envelope.run.failed.failure.error_class == "timed-out"
    assert kinds(events).count("timed_out") == 1
    assert kinds(events).count("model_call_begun") == 3
    assert replay([event.envelope for event in events]).identical


async def test_a_branch_that_takes_too_long_is_left_out(bus: Bus, worker: Platform, services: FakeServices) -> None:
    async def one_hangs(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if request.path == "1.2.1":
            await asyncio.Event().wait()
        yield completion("so" if request.role == "synthesizer" else "each")

    services.router.parts = one_hangs
    await put_agent(bus, orchestration={"pattern": "parallel_fan_out", "branch_timeout_seconds": 0.3})
    events = await events_until(bus, await admit(bus))
    assert plain(events[-1].envelope.run.completed.answer) == "so"
    late = [event.envelope.run.model_replied for event in events if event.envelope.run.model_replied.path == "1.2.1"]
    assert [reply.failure.error_class for reply in late] == ["timed-out"]
    assert replay([event.envelope for event in events]).identical


async def test_an_agent_is_not_run_below_itself(bus: Bus, worker: Platform, agents: FakeServices) -> None:
    async def circle(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        results = [plain(message.content) for message in request.messages if message.role == ROLE_TOOL]
        yield completion(results[0]) if results else completion("", asks())

    agents.router.parts = circle
    events, (child,) = await family(bus, await admit(bus))
    assert "agent > researcher > researcher" in plain(events[-1].envelope.run.completed.answer)
    assert not started(await events_until(bus, child))


async def test_cancelling_a_run_cancels_its_children(bus: Bus, worker: Platform, agents: FakeServices) -> None:
    async def endless(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if request.agent.name == "researcher":
            await asyncio.Event().wait()
        async for part in desk(request):
            yield part

    agents.router.parts = endless
    run = await admit(bus)
    children = started(await events_until(bus, run, "suspended"))
    cancel = Signal(id="stop", aggregate_id=run.id, principal="tester", cancel=CancelSignal(reason="enough"))
    await bus.signals.send("default", cancel)
    assert kinds(await events_until(bus, run))[-1] == "cancelled"
    for child in children:
        assert kinds(await events_until(bus, run_aggregate("default", child.child_run_id)))[-1] == "cancelled"


async def test_a_child_has_no_more_time_than_its_parent(bus: Bus, worker: Platform, agents: FakeServices) -> None:
    async def endless(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if request.agent.name == "researcher":
            await asyncio.Event().wait()
        async for part in desk(request):
            yield part

    agents.router.parts = endless
    await put_agent(bus, orchestration={"timeout_seconds": 1})
    begin = time.monotonic()
    events, children = await family(bus, await admit(bus))
    assert time.monotonic() - begin < 5
    assert events[-1].envelope.run.failed.failure.error_class == "timed-out"
    ends = [(await events_until(bus, child))[-1].envelope.run for child in children]
    assert {end.failed.failure.error_class for end in ends} == {"timed-out"}
    assert "the run that started it" in plain(ends[0].failed.failure.message)


async def test_a_child_has_what_the_budgets_above_it_left(bus: Bus, worker: Platform, agents: FakeServices) -> None:
    await put_agent(bus, budget={"per_run": {"tokens": 1000, "usd": 0.5}})
    run = await admit(bus)
    await ended(bus, run)
    calls = {plain(request.messages[-1].content): request for request in agents.router.requests}
    (above,) = calls["one"].inherited
    assert (above.agent.name, above.left_tokens, above.left_cost_nanos) == ("agent", 985, 500_000_000)
    assert not next(request for request in agents.router.requests if request.agent.name == "agent").inherited
    last = agents.router.requests[-1]
    assert last.agent.name == "agent"
    assert last.run_spend.tokens == 3 * 15, "what its children spent counts for it"


@pytest.mark.parametrize(("reason", "waited"), [(SUSPENSION_REASON_CHILD, 5), (SUSPENSION_REASON_APPROVAL, 90)])
def test_a_deadline_moves_by_what_children_waited_and_not_by_what_they_worked(
    reason: SuspensionReason.ValueType, waited: int
) -> None:
    events = [
        RunEvent(requested=RunRequested()),
        RunEvent(started=RunStarted()),
        RunEvent(child_started=ChildStarted(path="2.1", child_run_id="a")),
        RunEvent(child_started=ChildStarted(path="2.2", child_run_id="b")),
        RunEvent(suspended=Suspended(reason=reason)),
        RunEvent(child_finished=ChildFinished(path="2.1", totals=RunTotals(waited_nano=5, tokens=1))),
        RunEvent(child_finished=ChildFinished(path="2.2", totals=RunTotals(waited_nano=3, tokens=2))),
        RunEvent(resumed=Resumed()),
    ]
    times = [0, 0, 10, 10, 10, 50, 60, 100]
    log = [
        Envelope(index=index, time_unix_nano=time, run=event)
        for index, (time, event) in enumerate(zip(times, events, strict=True))
    ]
    recorded = Recorded.of(log)
    assert recorded.waited_nano == waited
    assert (recorded.spent.tokens, recorded.open_children()) == (3, [])


async def test_a_child_that_ended_while_nobody_looked_is_found(
    bus: Bus, agents: FakeServices, start_worker: StartWorker
) -> None:
    """The parent's worker is gone when the child ends, and the signal with it."""
    gate = asyncio.Event()

    async def slow(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        if request.agent.name == "researcher":
            await gate.wait()
        async for part in desk(request):
            yield part

    agents.router.parts = slow
    async with start_worker(bus, agents, "worker-1"):
        run = await admit(bus)
        await events_until(bus, run, "suspended")
    gate.set()
    async with start_worker(bus, agents, "worker-2"):
        events = await events_until(bus, run)
    assert kinds(events)[-1] == "completed"
    assert replay([event.envelope for event in events]).identical
