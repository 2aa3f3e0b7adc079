"""Puts semantic and episodic memory together: ledger, stores, and the reading of the log that both are made from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Projection
from astromesh_core.events.identity import MeshKey
from astromesh_core.telemetry.logs import logger
from astromesh_memory.keepers import Keepers, OpenSink
from astromesh_memory.kept import Kept
from astromesh_memory.lifetimes import Lifetimes
from astromesh_memory.rebuilding import Rebuilder
from astromesh_memory.remembering import Remembering
from astromesh_memory.runs.following import RunFollower
from astromesh_memory.runs.log_reading import LogReading
from astromesh_memory.runs.reading import RunReader
from astromesh_memory.runs.thread import LedgerThread, open_ledger

LEDGER_FILE = "remembered.sqlite"

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Related:
    """Semantic and episodic memory, at work."""

    remembering: Remembering
    kept: Kept
    rebuilder: Rebuilder
    keepers: Keepers
    follower: RunFollower
    ledger: LedgerThread
    synced: asyncio.Event
    """Set when the agents that stood at the start are known."""


@asynccontextmanager
async def open_related(
    bus: Bus, folder: Path, key: MeshKey, open_sink: OpenSink, watched: Callable[[Projection], None]
) -> AsyncGenerator[Related]:
    """Follows the agents, and the log from when the first one declares such memory or somebody asks what is kept:
    `watched` hears of that reading.

    Leaving stores how far the log is applied and closes every store.
    """
    async with open_ledger(folder / LEDGER_FILE) as ledger, AsyncExitStack() as stack:
        reader = RunReader(bus, key)
        position = await start_of(ledger, bus)
        keepers: Keepers
        follower = RunFollower(
            ledger, reader, position, await ledger.open_runs(), lambda touched, at: keepers.tell(touched, at)
        )

        reading = LogReading(bus, follower, watched, stack)
        keepers = Keepers(ledger, reader, open_sink, reading.begin)
        synced = asyncio.Event()
        tasks = [
            asyncio.create_task(keepers.follow(bus.resources.watch(synced)), name="memory of agents"),
            asyncio.create_task(keepers.leave(synced), name="memory left behind"),
            asyncio.create_task(Lifetimes(keepers, ledger, bus.signals, time.time_ns).run(), name="memory's lifetimes"),
        ]
        rebuilder = Rebuilder(bus, ledger, follower, reader, keepers)
        remembering = Remembering(bus.resources, keepers, follower, ledger, key, bus.log.end)
        try:
            yield Related(remembering, Kept(keepers, ledger, reading), rebuilder, keepers, follower, ledger, synced)
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await stack.aclose()
            await follower.save()
            await keepers.close()


async def start_of(ledger: LedgerThread, bus: Bus) -> Position:
    """Where to go on reading the log. A ledger that is ahead of it belongs to another log, and is dropped."""
    position = await ledger.position()
    if position <= await bus.log.end():
        return position
    _log.warning("the ledger of remembered runs belongs to another log and is built again")
    await ledger.drop()
    return Position.START
