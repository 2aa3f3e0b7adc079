"""Builds the history service from the platform."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from astromesh.v1.history_pb2_grpc import add_HistoryServiceServicer_to_server
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Gap, Projection
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.service import Platform
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_history import queries
from astromesh_history.alarms import PROJECTION, Alarms
from astromesh_history.applying import Applier
from astromesh_history.chains import Chains
from astromesh_history.database import Database
from astromesh_history.links import Fault
from astromesh_history.objects import Objects
from astromesh_history.projector import Projector
from astromesh_history.service import HistoryService


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server; writes what it has taken from the log before it closes."""
    folder = platform.settings.data_dir / "history"
    async with open_history(folder, platform.bus, platform.telemetry, platform.readiness) as service:

        def register(server: RpcServer) -> None:
            add_HistoryServiceServicer_to_server(service, server)

        yield register


@asynccontextmanager
async def open_history(
    folder: Path, bus: Bus, telemetry: Telemetry, readiness: Readiness
) -> AsyncGenerator[HistoryService]:
    """The read model in the folder, kept up to date from the log while it is open."""
    database = await Database.open(folder)
    try:
        alarms = Alarms(telemetry.metrics)
        objects = Objects(database, bus.values)
        chains = Chains(database, await database.call(queries.next_number))
        stored = await database.call(queries.reached)
        reached = Position.START if stored is None else Position.decode(stored)
        start = await _start(bus, reached, alarms)
        async with Projector(database, chains, Applier(chains, objects, alarms), reached) as projector:
            readiness.register("history", projector.health)
            readiness.register("history-log", alarms.health)
            async with Projection(
                bus,
                PROJECTION,
                projector.handle,
                start,
                on_gap=lambda gap: _sound(gap, alarms),
                unfinished=projector.unfinished,
            ) as projection:
                lag = telemetry.metrics.projection_lag.labels(PROJECTION)
                lag.set_function(lambda: projection.lag_seconds)

                async def catch_up() -> None:
                    await projection.applied(await bus.log.end())

                yield HistoryService(database, objects, projector, catch_up)
    finally:
        await database.close()


async def _start(bus: Bus, reached: Position, alarms: Alarms) -> Position:
    """Where to read on. A log that ends before what was applied has lost events, or is another mesh's."""
    if reached <= await bus.log.end():
        return reached
    alarms.sound(Fault("log-lost", "", "", 0, "the log ends before what the read model holds of it"))
    return Position.START


def _sound(gap: Gap, alarms: Alarms) -> None:
    # A chain that breaks is found by the applier too, which remembers every chain's head across restarts.
    if gap.kind != "broken-chain":
        alarms.sound(Fault("gap" if gap.kind == "gone" else "unreadable", "", "", 0, gap.reason))
