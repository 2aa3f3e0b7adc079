"""Following a run: nothing lost, nothing twice, whatever happens to live messages, the connection or the server."""

import asyncio
from contextlib import aclosing

import pytest

from astromesh_core.bus.client import BusClient, Listening, OnMessage
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.parsing import Message
from astromesh_core.bus.subjects import Aggregate, session_aggregate
from astromesh_core.events.identity import random_session
from astromesh_testing.commits import Writing, begun, commit_of, completed, new_run, requested
from astromesh_testing.nats import NatsServer
from astromesh_testing.transports import FaultyTransport


async def indexes(log: EventLog, run: Aggregate, from_index: int = 0) -> list[int]:
    async with asyncio.timeout(20), aclosing(log.follow(run, from_index)) as events:
        return [event.index async for event in events]


async def test_a_finished_run_is_told_from_the_log(bus: Bus) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    await writing.append(requested(), begun())
    await writing.append(completed())
    assert await indexes(bus.log, run) == [0, 1, 2]
    assert await indexes(bus.log, run, 2) == [2]


async def test_events_are_told_as_they_are_stored(bus: Bus) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    async with aclosing(bus.log.follow(run)) as events:
        for index in range(20):
            await writing.append(completed() if index == 19 else begun())
            async with asyncio.timeout(1):
                assert (await anext(events)).index == index
        assert [event async for event in events] == []


async def test_a_follower_that_knows_the_beginning_reads_only_the_rest(bus: Bus) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    await writing.append(requested())
    async with aclosing(bus.log.follow(run, 1, after=writing.position)) as events:
        await writing.append(begun(), completed())
        assert [event.index async for event in events] == [1, 2]


async def test_a_refused_append_is_never_told(bus: Bus) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    await writing.append(requested())
    following = asyncio.create_task(indexes(bus.log, run))
    stale, _ = commit_of(run, [completed("from a worker that was fenced")])
    await bus.nc.ask(run.log, stale, headers=b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 99\r\n\r\n")
    await writing.append(completed())
    assert await following == [0, 1]


class Ears:
    """Between a client and its subscriptions: while closed, messages pass unheard."""

    def __init__(self, client: BusClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = True
        self._listen = client.listen
        monkeypatch.setattr(client, "listen", self.listen)

    async def listen(self, subject: str, on_message: OnMessage) -> Listening:
        def hear(message: Message) -> None:
            if self.open:
                on_message(message)

        return await self._listen(subject, hear)


async def test_a_gap_in_live_messages_is_read_from_the_log(
    bus: Bus, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    await writing.append(requested())
    async with nats.bus("gateway") as other:
        ears = Ears(other.nc, monkeypatch)
        async with aclosing(other.log.follow(run)) as events:
            assert (await anext(events)).index == 0
            ears.open = False
            await writing.append(begun())
            await other.nc.flush()
            ears.open = True
            await writing.append(begun())
            async with asyncio.timeout(1):
                assert [(await anext(events)).index for _ in range(2)] == [1, 2]


async def test_a_lost_last_message_is_found_after_a_silence(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    await writing.append(requested())
    ears = Ears(bus.nc, monkeypatch)
    async with aclosing(bus.log.follow(run)) as events:
        assert (await anext(events)).index == 0
        ears.open = False
        await writing.append(completed())
        async with asyncio.timeout(4):
            assert [event.index async for event in events] == [1]


async def test_followers_neither_lose_nor_repeat_when_the_server_is_killed(bus: Bus, nats: NatsServer) -> None:
    runs = [new_run() for _ in range(5)]
    log = EventLog(bus.nc, attempt_seconds=0.5)
    following = [asyncio.create_task(indexes(log, run)) for run in runs for _ in range(2)]

    async def write(run: Aggregate) -> None:
        writing = Writing(log, run)
        for index in range(60):
            await writing.append(completed() if index == 59 else begun())

    work = asyncio.gather(*(write(run) for run in runs))
    for _ in range(2):
        await asyncio.sleep(0.05)
        await nats.kill()
        await nats.restart()
    await work
    for told in await asyncio.gather(*following):
        assert told == list(range(60))


async def test_a_slow_follower_gets_everything_all_the_same(bus: Bus) -> None:
    run = new_run()
    writing = Writing(bus.log, run)
    await writing.append(requested())
    async with aclosing(bus.log.follow(run)) as events:
        first = await anext(events)
        for _ in range(1_200):
            await writing.append(begun())
        await writing.append(completed())
        assert [first.index, *[event.index async for event in events]] == list(range(1_202))


@pytest.mark.parametrize("fault", [FaultyTransport.NO_RESPONDERS, b"a replica that knows nothing yet"])
async def test_a_follower_waits_for_a_log_that_is_away_or_lags(bus: Bus, fault: bytes) -> None:
    run = new_run()
    await Writing(bus.log, run).append(requested(), completed())
    log = EventLog(bus.nc, FaultyTransport(bus.nc, fault, to="$JS.API.DIRECT.GET"))
    assert await indexes(log, run) == [0, 1]


async def test_leaving_early_leaves_no_subscription(bus: Bus) -> None:
    run = new_run()
    await Writing(bus.log, run).append(requested())
    before = bus.nc.subscriptions
    async with aclosing(bus.log.follow(run)) as events:
        await anext(events)
        assert bus.nc.subscriptions == before + 1
    assert bus.nc.subscriptions == before


async def test_a_session_is_followed_without_an_end(bus: Bus) -> None:
    session = session_aggregate("default", random_session())
    async with aclosing(bus.log.follow(session)) as events:
        writing = Writing(bus.log, session)
        await writing.append(begun())
        assert (await anext(events)).index == 0
