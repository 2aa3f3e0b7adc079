"""Several workers: a dead one's runs go on elsewhere, a paused one is fenced, the broker may die in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.run_events_pb2 import SUSPENSION_REASON_VERSION
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.events.chain import verify_chain
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import STATUS_NAMES
from astromesh_core.service import Platform
from astromesh_runtime.patterns.catalogue import PATTERNS
from astromesh_runtime.patterns.react.v1 import react
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, ended, events_until, kinds, put_agent
from astromesh_testing.contracts.placement import until
from astromesh_testing.nats import NatsServer
from astromesh_testing.services import FakeServices, completion

StartWorker = Callable[[Bus, FakeServices, str], AbstractAsyncContextManager[Platform]]


async def hangs(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    await asyncio.Event().wait()
    yield completion("never")


READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)


async def owns(platform: Platform, least: int) -> None:
    async with asyncio.timeout(10):
        while True:
            health = (await platform.readiness.report()).checks["runtime"]
            if health.ok and int(health.reason.split()[1]) >= least:
                return
            await asyncio.sleep(0.05)


async def test_two_workers_share_the_runs_and_each_run_is_done_once(
    nats: NatsServer, bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    services.tools.specs = (READ,)
    await put_agent(bus)
    async with (
        start_worker(bus, services, "one") as one,
        nats.bus() as second,
        start_worker(second, services, "two") as two,
    ):
        await owns(two, 20)
        await owns(one, 20)
        runs = [await admit(bus) for _ in range(40)]
        done = [await events_until(bus, run) for run in runs]
    workers = Counter(next(e.envelope.producer for e in events if e.index == 1) for events in done)
    assert set(workers) == {"one", "two"}
    assert {kinds(events)[-1] for events in done} == {"completed"}
    assert len(services.tools.calls) == 40
    assert all(replay([event.envelope for event in events]).identical for events in done)


async def test_a_worker_that_lost_its_run_is_fenced_and_the_run_ends_once(
    nats: NatsServer, bus: Bus, services: FakeServices, start_worker: StartWorker
) -> None:
    """The first worker's lease runs out while its process is, to its clock, only waiting for a tool."""
    go = asyncio.Event()

    async def waits(request: ExecuteToolRequest) -> ExecuteToolResponse:
        if len(services.tools.calls) == 1:
            await go.wait()
        return ExecuteToolResponse(result=ToolResult(output=text_content("done")))

    services.tools.specs = (ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=30_000),)
    services.tools.execute = waits
    await put_agent(bus)
    async with nats.bus() as first, start_worker(first, services, "one") as one:
        await owns(one, 64)
        run = await admit(bus)
        await until(lambda: bool(services.tools.calls), 5)
        async with start_worker(bus, services, "two"):
            # The first one's connection is cut: it cannot renew, and does not know that it is alone.
            await first.nc.close()
            events = await events_until(bus, run, seconds=30)
            go.set()
            await asyncio.sleep(0.3)
            assert len((await bus.log.read(run)).events) == len(events)
    assert kinds(events).count("completed") == 1
    assert "claimed" in kinds(events)
    assert verify_chain([event.data for event in events]).ok
    assert replay([event.envelope for event in events]).identical


@pytest.mark.serial
async def test_a_run_goes_on_after_the_broker_was_killed_in_the_middle_of_it(
    nats: NatsServer, bus: Bus, worker: Platform, services: FakeServices
) -> None:
    go = asyncio.Event()

    async def waits(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
        await go.wait()
        yield completion("done")

    services.router.parts = waits
    await put_agent(bus)
    runs = [await admit(bus) for _ in range(5)]
    await until(lambda: len(services.router.requests) == 5, 5)
    await nats.kill()
    go.set()
    await asyncio.sleep(0.3)
    await nats.restart()
    for run in runs:
        assert STATUS_NAMES[(await ended(bus, run, seconds=30)).status] == "completed"
        assert verify_chain([event.data for event in (await bus.log.read(run)).events]).ok
    assert STATUS_NAMES[(await ended(bus, await admit(bus), seconds=30)).status] == "completed"


async def test_a_run_waits_for_a_worker_that_holds_its_pattern_version(
    bus: Bus, services: FakeServices, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_agent(bus)
    with monkeypatch.context() as newer:
        newer.setitem(PATTERNS, ("react", 2), react)
        newer.setattr(services.router, "parts", hangs)
        async with start_worker(bus, services, "newer"):
            run = await admit(bus)
            await until(lambda: bool(services.router.requests), 5)
    async with start_worker(bus, services, "older"):
        waiting = await events_until(bus, run, "suspended")
    assert waiting[-1].envelope.run.suspended.reason == SUSPENSION_REASON_VERSION
    monkeypatch.setitem(PATTERNS, ("react", 2), react)
    async with start_worker(bus, services, "newer-again"):
        events = await events_until(bus, run)
    assert kinds(events)[-1] == "completed"
    assert replay([event.envelope for event in events]).identical
