"""Sharing the partitions, with a real server and workers that die."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from astromesh.v1.partition_pb2 import PartitionCheckpoint
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.checkpoints import Checkpoints
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.bus.ownership import Acquired, Lost, Ownership
from astromesh_core.bus.streams import PARTITIONS
from astromesh_core.errors import Conflict
from astromesh_testing.nats import NatsServer

WORKER = Path(__file__).with_name("worker_process.py")


class Worker:
    """An ownership whose changes are dealt with at once and remembered."""

    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self.changes: list[Acquired | Lost] = []

    @property
    def held(self) -> dict[int, int]:
        return self.ownership.held

    async def follow(self) -> None:
        async for change in self.ownership.changes():
            self.changes.append(change)


@asynccontextmanager
async def working(bus: Bus, name: str, **options: Any) -> AsyncGenerator[Worker, None]:
    async with Ownership(bus, name, **options) as ownership:
        worker = Worker(ownership)
        task = asyncio.create_task(worker.follow())
        yield worker
        await ownership.release()
        await task


@asynccontextmanager
async def child(nats: NatsServer, name: str) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    credentials = credentials_path(nats.credentials_folder, "runtime")
    nats.credentials("runtime")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), nats.url, str(credentials), name, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: asyncio.subprocess.Process, key: str) -> dict[str, Any]:
    assert process.stdout is not None
    async for text in process.stdout:
        if text.startswith(b"{") and key in (said := json.loads(text)):
            return cast("dict[str, Any]", said)
    raise AssertionError(f"the worker ended before it said {key}")


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come about in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - started


async def test_a_lone_worker_owns_everything_at_once(bus: Bus) -> None:
    async with working(bus, "a") as worker:
        assert await until(lambda: len(worker.held) == 64) < 1.0
        assert set(worker.held.values()) == {1}
        assert worker.ownership.health().ok


async def test_workers_share_evenly_and_give_up_before_another_takes(bus: Bus, nats: NatsServer) -> None:
    async with nats.bus(name="b") as second, nats.bus(name="c") as third, working(bus, "a") as a:
        await until(lambda: len(a.held) == 64)
        async with working(second, "b") as b:
            await until(lambda: len(a.held) == len(b.held) == 32)
            assert not a.held.keys() & b.held.keys()
            assert set(b.held.values()) == {2}
            async with working(third, "c") as c:
                await until(lambda: sorted(map(len, (a.held, b.held, c.held))) == [21, 21, 22])
                assert len(a.held.keys() | b.held.keys() | c.held.keys()) == 64


async def test_a_graceful_release_hands_over_in_well_under_a_second(bus: Bus, nats: NatsServer) -> None:
    async with nats.bus(name="b") as second, working(bus, "a") as a, working(second, "b") as b:
        await until(lambda: len(a.held) == len(b.held) == 32)
        before = dict(b.held)
        await b.ownership.release()
        assert await until(lambda: len(a.held) == 64) < 0.5
        assert b.held == {}
        assert all(a.held[partition] > epoch for partition, epoch in before.items())


async def test_what_is_handed_over_waits_until_its_old_owner_has_dealt_with_it(bus: Bus, nats: NatsServer) -> None:
    async with nats.bus(name="b") as second, Ownership(bus, "a") as a:
        changes = a.changes()
        assert isinstance(await anext(changes), Acquired)
        async with working(second, "b") as b:
            lost = await anext(changes)
            assert isinstance(lost, Lost)
            assert not any(a.holds(partition) for partition in lost.partitions)
            await asyncio.sleep(0.3)
            assert b.held == {}
            asking = asyncio.create_task(anext(changes, None))
            await until(lambda: b.held.keys() == set(lost.partitions), 1.0)
            await a.release()
            await asking


@pytest.mark.serial
async def test_a_killed_worker_loses_its_partitions_within_five_seconds(bus: Bus, nats: NatsServer) -> None:
    async with working(bus, "a") as a, child(nats, "b") as b:
        theirs = (await line(b, "acquired"))["acquired"]
        await until(lambda: len(a.held) + len(theirs) == 64)
        b.kill()
        await b.wait()
        assert await until(lambda: len(a.held) == 64) < 5.0
        assert all(a.held[partition] >= 2 for partition in theirs)


@pytest.mark.serial
async def test_a_stopped_worker_knows_on_waking_that_it_no_longer_holds(bus: Bus, nats: NatsServer) -> None:
    async with working(bus, "a") as a, child(nats, "b") as b:
        theirs = (await line(b, "acquired"))["acquired"]
        await until(lambda: len(a.held) + len(theirs) == 64)
        os.kill(b.pid, signal.SIGSTOP)
        await until(lambda: len(a.held) == 64, 6.0)
        os.kill(b.pid, signal.SIGCONT)
        assert (await line(b, "woke_after"))["holds"] is False
        assert (await line(b, "lost"))["lost"] == theirs


@pytest.mark.serial
async def test_a_worker_that_stalls_briefly_keeps_its_partitions(bus: Bus, nats: NatsServer) -> None:
    async with working(bus, "a") as a, working(bus, "b") as b:
        await until(lambda: len(a.held) == len(b.held) == 32)
        held = dict(a.held), dict(b.held)
        await asyncio.to_thread(nats.pause)
        await until(lambda: a.held == b.held == {}, 5.0)
        nats.resume()
        await until(lambda: (a.held, b.held) == held)
        assert not [change for change in (*a.changes, *b.changes) if isinstance(change, Lost)][1:]


async def test_a_restarted_server_neither_loses_nor_doubles_ownership(bus: Bus, nats: NatsServer) -> None:
    async with nats.bus(name="b") as second, working(bus, "a") as a, working(second, "b") as b:
        await until(lambda: len(a.held) == len(b.held) == 32)
        before = dict(a.held), dict(b.held)
        await nats.kill()
        await nats.restart()
        deadline = time.monotonic() + 3.5
        while time.monotonic() < deadline:
            assert not a.held.keys() & b.held.keys()
            await asyncio.sleep(0.02)
        assert (a.held, b.held) == before
        assert not [change for change in (*a.changes, *b.changes) if isinstance(change, Lost)]


@pytest.mark.serial
async def test_epochs_grow_over_every_change_even_when_the_server_was_away_for_long(bus: Bus, nats: NatsServer) -> None:
    async with working(bus, "a") as a:
        await until(lambda: len(a.held) == 64)
        await nats.kill()
        await until(lambda: not a.ownership.holds(0), 4.0)
        assert not a.ownership.health().ok
        await nats.restart()
        await until(lambda: len(a.held) == 64)
        assert set(a.held.values()) == {1}
    async with working(bus, "b") as b:
        await until(lambda: len(b.held) == 64)
        assert set(b.held.values()) == {2}


async def test_a_second_process_under_a_live_name_holds_nothing(bus: Bus, nats: NatsServer) -> None:
    async with nats.bus(name="twin") as second, working(bus, "a") as first:
        await until(lambda: len(first.held) == 64)
        async with working(second, "a") as twin:
            await asyncio.sleep(1.2)
            assert twin.held == {}
            assert "another process" in twin.ownership.health().reason
            assert len(first.held) == 64


async def test_a_sole_worker_takes_over_its_earlier_life_at_once(nats: NatsServer) -> None:
    async with nats.bus(name="new") as bus, child(nats, "solo") as earlier:
        await line(earlier, "acquired")
        earlier.kill()
        await earlier.wait()
        async with working(bus, "solo", sole=True) as worker:
            assert await until(lambda: len(worker.held) == 64) < 1.0
            assert set(worker.held.values()) == {2}


async def test_a_checkpoint_comes_back_and_an_older_epoch_is_refused(bus: Bus, nats: NatsServer) -> None:
    async with nats.bus(name="b") as second, working(bus, "a") as a:
        await until(lambda: len(a.held) == 64)
        checkpoint = await a.ownership.load_checkpoint(7)
        checkpoint.requested_sequence = 41
        await a.ownership.save_checkpoint(7, checkpoint)
        await a.ownership.release()
        async with working(second, "b") as b:
            await until(lambda: len(b.held) == 64)
            taken = await b.ownership.load_checkpoint(7)
            assert (taken.requested_sequence, taken.epoch) == (41, 2)
            stale = PartitionCheckpoint(epoch=1, requested_sequence=99)
            with pytest.raises(Conflict):
                await a.ownership.save_checkpoint(7, stale)
            with pytest.raises(Conflict, match="epoch 2"):
                await Checkpoints(Bucket(bus.nc, PARTITIONS)).save(7, stale)


async def test_who_owns_everything_alone_does_not_keep_asking_who_else_lives(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, asked = Bucket.keys, list[str]()

    async def counted(self: Bucket) -> set[str]:
        asked.append(self.stream)
        return await keys(self)

    monkeypatch.setattr(Bucket, "keys", counted)
    async with working(bus, "one") as one:
        await until(lambda: len(one.held) == 64)
        await asyncio.sleep(1)
        asked.clear()
        await asyncio.sleep(3)
        assert len(asked) <= 1
        async with working(bus, "two") as two:
            await until(lambda: len(one.held) + len(two.held) == 64 and len(two.held) > 10)
