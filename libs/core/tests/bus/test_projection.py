"""Feeding projections from the log, against a real server."""

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from astromesh.v1.envelope_pb2 import AGGREGATE_TYPE_RUN, Envelope
from astromesh.v1.run_events_pb2 import ModelCallBegun, RunEvent
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.embedded import server_binary
from astromesh_core.bus.feed import Feed, OrderedFeed
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Gap, ProjectedCommit, Projection
from astromesh_core.bus.streams import RUNS
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.events.chain import GENESIS, ChainHead, build_commit, seal
from astromesh_testing.nats import NatsServer

LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)


class Narrow(Projection):
    """Falls behind soon."""

    buffered = 100


class Chain:
    """Writes one run's events to the log."""

    def __init__(self, bus: Bus, number: int) -> None:
        name = "".join(LETTERS[number // 32**place % 32] for place in range(26))
        self.bus = bus
        self.aggregate = run_aggregate("default", f"{number % 64:02d}-{name}")
        self.head = GENESIS

    def commit(self, events: int) -> bytes:
        sealed: list[bytes] = []
        for _ in range(events):
            body = RunEvent(model_call_begun=ModelCallBegun(path="1", role="default"))
            envelope = Envelope(aggregate_type=AGGREGATE_TYPE_RUN, aggregate_id=self.aggregate.id, run=body)
            data, self.head = seal(envelope, self.head)
            sealed.append(data)
        return build_commit(sealed)

    async def append(self, events: int = 1) -> None:
        await self.bus.js.publish(self.aggregate.log, self.commit(events))


class Table:
    """A handler that remembers what came, as a database would, and may be told to fail or to be slow."""

    def __init__(self) -> None:
        self.indexes: dict[str, list[int]] = {}
        self.position = Position.START
        self.batches: list[int] = []
        self.failures = 0
        self.open = asyncio.Event()
        self.open.set()

    @property
    def events(self) -> int:
        return sum(map(len, self.indexes.values()))

    async def handle(self, batch: list[ProjectedCommit]) -> None:
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the database is away")
        for commit in batch:
            assert commit.position > self.position
            self.position = commit.position
            self.indexes.setdefault(commit.aggregate.id, []).extend(event.index for event in commit.events)
        self.batches.append(len(batch))

    async def holds(self, events: int, seconds: float = 10.0) -> None:
        await until(lambda: self.events >= events, seconds)
        assert self.events == events
        assert all(indexes == list(range(len(indexes))) for indexes in self.indexes.values())


async def fill(bus: Bus, commits: int, events: int = 1, first: int = 0) -> None:
    chains = [Chain(bus, first + number) for number in range(min(50, commits))]
    for start in range(0, commits, 50):
        await asyncio.gather(*(chain.append(events) for chain in chains[: commits - start]))


async def test_everything_comes_in_order_whether_old_or_new(bus: Bus) -> None:
    await fill(bus, 120, events=2)
    table = Table()
    async with Projection(bus, "rows", table.handle, Position.START) as projection:
        await projection.applied(await bus.log.end())
        await table.holds(240)
        await fill(bus, 30, first=1000)
        await table.holds(270)
        assert projection.position == table.position == await bus.log.end()
        assert projection.gaps == []
        assert projection.health().ok, projection.health()


async def test_it_resumes_after_the_position_that_was_stored(bus: Bus) -> None:
    chain = Chain(bus, 1)
    for _ in range(5):
        await chain.append()
    table = Table()
    async with Projection(bus, "rows", table.handle, Position.decode(Position(3).encode())) as projection:
        await projection.applied(Position(5))
    assert table.indexes == {chain.aggregate.id: [3, 4]}
    assert projection.gaps == []


async def test_batches_grow_with_the_backlog_and_are_single_when_idle(bus: Bus) -> None:
    await fill(bus, 600)
    table = Table()
    async with Projection(bus, "rows", table.handle, Position.START) as projection:
        await projection.applied(Position(600))
        assert max(table.batches) > 50
        table.batches.clear()
        chain = Chain(bus, 5000)
        for _ in range(5):
            await chain.append()
            await projection.applied(await bus.log.end())
        assert table.batches == [1] * 5


async def test_an_idle_projection_is_prompt(bus: Bus) -> None:
    handled = asyncio.Event()

    async def handle(batch: list[ProjectedCommit]) -> None:
        del batch
        handled.set()

    delays: list[float] = []
    async with Projection(bus, "rows", handle, Position.START):
        chain = Chain(bus, 1)
        await chain.append()
        await handled.wait()
        for _ in range(60):
            handled.clear()
            await chain.append()
            stored = time.perf_counter()
            await handled.wait()
            delays.append(time.perf_counter() - stored)
    assert sorted(delays)[30] < 0.005


async def test_a_handler_that_fails_gets_the_same_batch_again_and_readiness_says_so(bus: Bus) -> None:
    await fill(bus, 10)
    table = Table()
    table.failures = 2
    async with Projection(bus, "rows", table.handle, Position.START) as projection:
        await until(lambda: "database" in projection.health().reason)
        await table.holds(10)
        assert projection.health().ok


async def test_several_projections_share_a_feed_and_a_slow_one_holds_up_nobody(bus: Bus) -> None:
    quick, slow, late = Table(), Table(), Table()
    slow.open.clear()
    async with (
        Projection(bus, "quick", quick.handle, Position.START) as first,
        Narrow(bus, "slow", slow.handle, Position.START) as second,
    ):
        await fill(bus, 1200)
        await quick.holds(1200)
        assert slow.events == 0
        async with Projection(bus, "late", late.handle, Position.START) as third:
            await late.holds(1200)
            slow.open.set()
            await slow.holds(1200)
            await fill(bus, 3, first=20_000)
            for table in (quick, slow, late):
                await table.holds(1203)
            consumers = {bus.shared_feed.consumer(projection) for projection in (first, second, third)}
            assert len(consumers) == 1


async def test_a_consumer_deleted_under_it_is_noticed_and_made_anew_and_readiness_tells(bus: Bus) -> None:
    table = Table()
    async with Projection(bus, "rows", table.handle, Position.START) as projection:
        await fill(bus, 3)
        await table.holds(3)
        assert projection.health().ok
        await bus.js.delete_consumer(RUNS, bus.shared_feed.consumer(projection))
        await fill(bus, 3, first=100)
        await table.holds(6, 4.0)
        assert "vanished" in projection.health().reason
        assert [check.name for check in bus.health() if not check.ok] == ["projection rows"]


async def test_a_restart_loses_nothing_and_repeats_nothing(bus: Bus, nats: NatsServer) -> None:
    table = Table()
    async with Projection(bus, "rows", table.handle, Position.START) as projection:
        await fill(bus, 100)
        await nats.kill()
        await nats.restart()
        async with nats.bus(name="writer") as other:
            await fill(other, 50, first=500)
            started = time.monotonic()
            await table.holds(150)
        assert time.monotonic() - started < 2.5
        assert projection.gaps == []


async def test_a_lag_turns_readiness_red(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Projection, "max_lag_seconds", 0.5)
    table = Table()
    table.open.clear()
    async with Projection(bus, "rows", table.handle, Position.START) as projection:
        await fill(bus, 3)
        await until(lambda: "behind the log" in projection.health().reason)
        table.open.set()
        await table.holds(3)
        assert projection.health().ok
        assert projection.lag_seconds == 0


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def lose(server: NatsServer, folder: Path, sequence: int) -> None:
    """Takes a message out of the log as no user of the mesh may: by another server, without users, on its files."""
    await server.kill()
    port = int(server.url.rpartition(":")[2])
    process = await asyncio.create_subprocess_exec(
        server_binary(),
        "-js",
        "-sd",
        str(folder / "nats" / "store"),
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: listens(port))
        client = BusClient()
        await client.connect(server.url)
        await JetStreamContext(client).delete_msg(RUNS, sequence)
        await client.close()
    finally:
        process.terminate()
        await process.wait()
    await server.restart()


async def test_a_message_that_is_gone_from_the_log_is_reported_and_the_rest_is_handled(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with nats.bus() as bus:
        await fill(bus, 50)
    await lose(nats, tmp_path, 20)
    gaps, table = list[Gap](), Table()
    async with (
        nats.bus() as bus,
        Projection(bus, "rows", table.handle, Position.START, on_gap=gaps.append) as projection,
    ):
        await projection.applied(Position(50))
        assert [(gap.after, gap.messages) for gap in gaps] == [(Position(19), 1)]
        assert table.events == 49
        assert "gone from the log" in projection.health().reason


async def test_a_log_restored_from_an_older_copy_turns_readiness_red(bus: Bus) -> None:
    await fill(bus, 3)
    async with Projection(bus, "rows", Table().handle, Position(9)) as projection:
        await until(lambda: "ends before" in projection.health().reason)


async def test_a_chain_that_does_not_hold_is_reported_and_the_rest_is_handled(bus: Bus) -> None:
    chain, gaps, table = Chain(bus, 1), list[Gap](), Table()
    await chain.append(2)
    chain.head = ChainHead(chain.head.next_index, b"x" * 32)
    await chain.append()
    await bus.js.publish(chain.aggregate.log, b"\xff\xff")
    await chain.append()
    async with Projection(bus, "rows", table.handle, Position.START, on_gap=gaps.append) as projection:
        await table.holds(4)
        assert [(gap.after.sequence, gap.messages) for gap in gaps] == [(1, 0), (2, 0)]
        assert "does not follow" in gaps[0].reason
        assert "no commit" in gaps[1].reason
        assert "gaps" in projection.health().reason
        assert projection.position == Position(4)


async def test_a_process_that_was_busy_does_not_take_its_consumer_for_vanished(bus: Bus) -> None:
    async with OrderedFeed(bus.nc, Feed(RUNS), lambda message: None) as feed:
        for seconds in (2.0, 1.4, 1.6, 3.0):
            await asyncio.sleep(0.3)
            time.sleep(seconds)  # noqa: ASYNC251 - that nothing else runs meanwhile is the point
        await asyncio.sleep(1)
        assert (feed.restarts, feed.trouble) == (0, "")


async def test_a_feed_sleeps_while_its_consumer_is_heard(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    timeout, woken = asyncio.timeout, list[float]()

    def counted(seconds: float | None) -> asyncio.Timeout:
        woken.append(time.monotonic())
        return timeout(seconds)

    async with OrderedFeed(bus.nc, Feed(RUNS), lambda message: None):
        await asyncio.sleep(0.3)
        monkeypatch.setattr("astromesh_core.bus.feed.asyncio.timeout", counted)
        await asyncio.sleep(3)
        assert len(woken) <= 3
        monkeypatch.undo()
