"""What comes at an awkward moment: a run ends once and truly, and no signal is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1 import values_pb2 as values
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.runs_pb2 import RUN_STATUS_FAILED
from astromesh.v1.signal_pb2 import CancelSignal, Signal
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.intake import RunRequest
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.chain import build_commit, open_commit, seal
from astromesh_core.events.runs import fold
from astromesh_core.service import Platform
from astromesh_runtime import engine
from astromesh_runtime.effects import CallTools
from astromesh_runtime.replay import replay
from astromesh_runtime.scope import RunScope
from astromesh_runtime.worker import Partition, Worker
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices, completion

StartWorker = Callable[[Bus, FakeServices, str], AbstractAsyncContextManager[Platform]]
WRITE = ToolSpec(name="pay", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=1000)


async def hangs(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    await asyncio.Event().wait()
    yield completion("never")


async def cancel(bus: Bus, run: Aggregate) -> None:
    await bus.signals.send("default", Signal(id=f"cancel {run.id}", aggregate_id=run.id, cancel=CancelSignal()))


async def append_foreign(bus: Bus, run: Aggregate, event: ev.RunEvent) -> None:
    tail = await bus.log.tail(run)
    assert tail is not None
    envelope = Envelope(aggregate_type=run.type, aggregate_id=run.id, namespace=run.namespace, run=event)
    data, _ = seal(envelope, tail.head)
    await bus.log.append(run.log, run, build_commit([data]), tail.position)


async def test_a_cancel_while_the_end_is_being_stored_makes_no_second_end(
    bus: Bus, worker: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, ending, go = EventLog.append, asyncio.Event(), asyncio.Event()

    async def slowly(self: EventLog, subject: str, aggregate: Aggregate, commit: bytes, expected: Position) -> Position:
        if any(event.envelope.run.HasField("completed") for event in open_commit(commit)):
            ending.set()
            await go.wait()
        return await append(self, subject, aggregate, commit, expected)

    monkeypatch.setattr(EventLog, "append", slowly)
    await put_agent(bus)
    run = await admit(bus)
    await ending.wait()
    await cancel(bus, run)
    await asyncio.sleep(0.2)
    go.set()
    await events_until(bus, run)
    await asyncio.sleep(0.2)
    stored = kinds((await bus.log.read(run)).events)
    assert (stored[-1], stored.count("cancelled")) == ("completed", 0)


async def test_a_worker_that_is_fenced_in_a_tool_call_does_not_fail_the_run(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's claim gets in right before the intent: the intent is never stored, nothing is called for it."""
    append, fenced = EventLog.append, asyncio.Event()

    async def claimed_first(
        self: EventLog, subject: str, aggregate: Aggregate, commit: bytes, expected: Position
    ) -> Position:
        intended = any(event.envelope.run.HasField("tool_intended") for event in open_commit(commit))
        if intended and not fenced.is_set():
            fenced.set()
            await append_foreign(bus, aggregate, ev.RunEvent(claimed=ev.RunClaimed(worker="another", epoch=99)))
        return await append(self, subject, aggregate, commit, expected)

    monkeypatch.setattr(EventLog, "append", claimed_first)
    services.tools.specs = (WRITE,)
    await put_agent(bus)
    events = await events_until(bus, await admit(bus))
    assert fenced.is_set()
    assert (kinds(events)[-1], kinds(events).count("tool_intended")) == ("completed", 1)
    assert len(services.tools.calls) == 1
    assert replay([event.envelope for event in events]).identical


async def test_a_cancel_that_is_read_before_its_runs_request_is_not_lost(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and signals lie in two streams, each with a reader of its own."""
    take = Worker._take_request  # pyright: ignore[reportPrivateUsage]  # where requests come in

    def later(self: Worker, arrival: RunRequest, partition: Partition) -> None:
        asyncio.get_running_loop().call_later(0.3, take, self, arrival, partition)

    monkeypatch.setattr(Worker, "_take_request", later)
    services.router.parts = hangs
    await put_agent(bus)
    run = await admit(bus)
    await cancel(bus, run)
    assert kinds(await events_until(bus, run))[-1] == "cancelled"


async def test_a_write_that_a_crash_cut_is_noted_before_the_run_is_cancelled(
    bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    began = asyncio.Event()

    async def never_answers(request: ExecuteToolRequest) -> ExecuteToolResponse:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    services.tools.specs, services.tools.execute = (WRITE,), never_answers
    await put_agent(bus)
    async with start_worker(bus, services, "one"):
        run = await admit(bus)
        await began.wait()
    await cancel(bus, run)
    async with start_worker(bus, services, "two"):
        assert kinds(await events_until(bus, run))[-2:] == ["tool_outcome_unknown", "cancelled"]
    assert len(services.tools.calls) == 1


async def test_a_run_that_only_a_later_release_can_read_waits_for_it_and_can_be_cancelled(
    bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    await put_agent(bus)
    run = await admit(bus)
    await append_foreign(bus, run, ev.RunEvent(handed_off=ev.HandedOff(path="1")))
    async with start_worker(bus, services, "older"):
        waiting = (await events_until(bus, run, "suspended"))[-1].envelope.run.suspended
        assert waiting.reason == ev.SUSPENSION_REASON_VERSION
        await cancel(bus, run)
        assert kinds(await events_until(bus, run))[-1] == "cancelled"


async def test_a_write_that_a_bug_cut_is_noted_before_the_run_is_ended_for_it(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(scope: RunScope, effect: CallTools) -> NoReturn:
        (call,) = effect.calls
        intent = ev.ToolIntended(path=call.path, effect_sha256=call.sha256, call=call.call, effect=WRITE.effect)
        await scope.stored(scope.record(ev.RunEvent(tool_intended=intent)))
        raise RuntimeError("broken")

    monkeypatch.setattr(engine, "call_tools", breaks)
    services.tools.specs = (WRITE,)
    await put_agent(bus)
    events = await events_until(bus, await admit(bus))
    assert kinds(events)[-3:] == ["tool_intended", "tool_outcome_unknown", "failed"]
    assert events[-2].envelope.run.tool_outcome_unknown.path == events[-3].envelope.run.tool_intended.path
    assert (events[-1].envelope.run.failed.imposed, fold(it.envelope for it in events).status) == (
        True,
        RUN_STATUS_FAILED,
    )


async def test_a_write_that_a_crash_cut_is_noted_though_only_a_later_release_can_read_the_run(
    bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    await put_agent(bus)
    run = await admit(bus)
    await append_foreign(bus, run, ev.RunEvent(tool_intended=ev.ToolIntended(path="1.1", effect=WRITE.effect)))
    await append_foreign(bus, run, ev.RunEvent(handed_off=ev.HandedOff(path="2")))
    await cancel(bus, run)
    async with start_worker(bus, services, "older"):
        assert kinds(await events_until(bus, run))[-2:] == ["tool_outcome_unknown", "cancelled"]


async def test_agents_with_equal_specs_stay_two_agents(bus: Bus, worker: Platform) -> None:
    for name in ("one", "two"):
        await put_agent(bus, name)
        events = await events_until(bus, await admit(bus, agent=name))
        assert events[1].envelope.run.started.agent.name == name
