"""Following a run in a process that reads the whole log anyway: by that reading, and without it once it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import ProjectedCommit, Projection
from astromesh_testing.commits import Writing, begun, completed, new_run, requested
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until


@asynccontextmanager
async def reading(bus: Bus) -> AsyncGenerator[Projection]:
    async def handle(commits: list[ProjectedCommit]) -> None:
        pass

    async with Projection(bus, "test", handle, Position.START) as projection:

        async def read() -> bool:
            return not bus.shared_feed.trouble(projection)

        await until(read)
        yield projection


async def test_a_follower_of_a_log_that_is_read_anyway_subscribes_to_nothing(bus: Bus) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    async with reading(bus):
        before = bus.nc.subscriptions
        async with bus.log.follow_new(run) as events:
            await writing.append(requested(), begun())
            await writing.append(completed())
            assert bus.nc.subscriptions == before
            async with asyncio.timeout(1):
                assert [event.index async for event in events] == [0, 1, 2]


async def test_followers_of_one_run_hear_it_side_by_side_and_apart_from_others(bus: Bus) -> None:
    run, other = new_run(), new_run()
    writing, beside = Writing(bus.log, run), Writing(bus.log, other)
    async with reading(bus), bus.log.follow_new(run) as first:
        async with bus.log.follow_new(run) as second:
            await beside.append(requested(), completed())
            await writing.append(requested())
            async with asyncio.timeout(1):
                assert [(await anext(first)).index, (await anext(second)).index] == [0, 0]
        await writing.append(completed())
        async with asyncio.timeout(1):
            assert [event.envelope.aggregate_id async for event in first] == [run.id]


async def test_a_follower_goes_on_when_the_log_is_no_longer_read(bus: Bus) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    async with reading(bus):
        events = bus.log.follow(run)
        await writing.append(requested())
        assert (await anext(events)).index == 0
    async with aclosing(events), asyncio.timeout(6):
        await writing.append(completed())
        assert [event.index async for event in events] == [1]


async def test_a_follower_neither_loses_nor_repeats_when_the_server_is_killed(bus: Bus, nats: NatsServer) -> None:
    run = new_run()
    writing = Writing(bus.log, run)

    async def told() -> list[int]:
        async with asyncio.timeout(30), aclosing(bus.log.follow(run)) as events:
            return [event.index async for event in events]

    async with reading(bus):
        following = asyncio.create_task(told())
        for index in range(40):
            if index in (10, 25):
                await nats.kill()
                await nats.restart()
            await writing.append(completed() if index == 39 else begun())
        assert await following == list(range(40))
