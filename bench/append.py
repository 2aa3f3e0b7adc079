"""Measures the event log: commits a second at 64 runs at once, CPU of the client for each, and reading a long run.

python bench/append.py            Every commit is on disk (fsync) before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from astromesh.v1.run_events_pb2 import RunEvent
from astromesh_core.bus.connection import Bus, open_bus
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.bus.permissions import MESH
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate, run_aggregate
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.events.chain import GENESIS
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import random_run_id, random_session

RUNS = 2_000
AT_ONCE = 64
COMMITS = 4
COMMIT_BYTES = 2_500
LONG_RUN_EVENTS = 1_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    value: str
    target: str


def new_run() -> Aggregate:
    return run_aggregate("default", random_run_id(random_session()))


async def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        async with EmbeddedServer(Path(data)) as server:
            credentials = server.credentials(MESH)
            async with open_bus(server.url, service=MESH, credentials=credentials, name="bench") as bus:
                for figure in (*await appends(bus), await alone(bus), *await writers(bus), await long_run(bus)):
                    print(f"{figure.name:<58}{figure.value:>16}   {figure.target}")


async def appends(bus: Bus) -> list[Figure]:
    """Bare commits of random bytes: the log itself."""

    async def one(run: Aggregate) -> None:
        position = Position.START
        for _ in range(COMMITS):
            position = await bus.log.append(run.log, run, os.urandom(COMMIT_BYTES), position)

    wall, cpu = await timed([new_run() for _ in range(RUNS)], one)
    total = RUNS * COMMITS
    return [
        Figure(
            f"commits of {COMMIT_BYTES} B, {AT_ONCE} runs at once", f"{total / wall:,.0f}/s", "3,500/s measured bare"
        ),
        Figure("client CPU an append", f"{cpu / total * 1e6:.0f} µs", "< 120 µs"),
    ]


async def alone(bus: Bus) -> Figure:
    """One after the other."""
    run, position, count = new_run(), Position.START, 1_000
    begun = time.perf_counter()
    for _ in range(count):
        position = await bus.log.append(run.log, run, os.urandom(COMMIT_BYTES), position)
    return Figure(
        "an append alone", f"{(time.perf_counter() - begun) / count * 1e3:.2f} ms", "0.44-0.58 ms measured bare"
    )


async def writers(bus: Bus) -> list[Figure]:
    """Through AggregateWriter: sealing, coalescing and all."""

    async def one(run: Aggregate) -> None:
        writer = AggregateWriter(bus.log, bus.values, run, Position.START, GENESIS, "bench", time.time_ns)
        for _ in range(COMMITS):
            writer.record(_event(COMMIT_BYTES - 400))
            await writer.stored(writer.record(_event(100)))

    wall, cpu = await timed([new_run() for _ in range(RUNS)], one)
    total = RUNS * COMMITS
    return [
        Figure(f"AggregateWriter: commits of 2 events, {AT_ONCE} runs at once", f"{total / wall:,.0f}/s", ""),
        Figure("client CPU a commit of 2 events", f"{cpu / total * 1e6:.0f} µs", ""),
    ]


async def long_run(bus: Bus) -> Figure:
    """Reading a run of 1,000 events, stored one by one."""
    run = new_run()
    writer = AggregateWriter(bus.log, bus.values, run, Position.START, GENESIS, "bench", time.time_ns)
    for _ in range(LONG_RUN_EVENTS):
        await writer.stored(writer.record(_event(1_000)))
    begun = time.perf_counter()
    stored = await bus.log.read(run)
    wall = time.perf_counter() - begun
    assert len(stored.events) == LONG_RUN_EVENTS
    return Figure(
        f"reading a run of {LONG_RUN_EVENTS:,} events in as many commits", f"{wall * 1e3:.0f} ms", "<= 100 ms"
    )


async def timed(runs: list[Aggregate], one: Callable[[Aggregate], Awaitable[None]]) -> tuple[float, float]:
    """Wall and CPU seconds of this process for all runs, 64 at once."""
    queue: Iterator[Aggregate] = iter(runs)

    async def worker() -> None:
        for run in queue:
            await one(run)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return time.perf_counter() - wall, time.process_time() - cpu


def _event(size: int) -> RunEvent:
    event = RunEvent()
    event.completed.answer.CopyFrom(text_content("x" * size))
    return event


if __name__ == "__main__":
    uvloop.run(main())
