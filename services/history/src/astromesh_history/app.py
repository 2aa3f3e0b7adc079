"""Builds the history service from the platform."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

from astromesh.v1.history_pb2_grpc import add_HistoryServiceServicer_to_server
from astromesh_core.audit.heads import Signer
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.observations import Observations
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Gap, Projection
from astromesh_core.mesh_secrets import audit_key
from astromesh_core.readiness import Health, Readiness
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.service import Platform
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_history import queries
from astromesh_history.alarms import PROJECTION, Alarms
from astromesh_history.applying import Applier
from astromesh_history.audit.declared import Declared
from astromesh_history.audit.exporting import Exporter
from astromesh_history.audit.keeping import AuditTree
from astromesh_history.audit.tree_file import open_tree
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
    key = audit_key(platform.settings)
    async with open_history(folder, platform.bus, platform.telemetry, platform.readiness, key) as service:

        def register(server: RpcServer) -> None:
            add_HistoryServiceServicer_to_server(service, server)

        yield register


@asynccontextmanager
async def open_history(
    folder: Path, bus: Bus, telemetry: Telemetry, readiness: Readiness, key: bytes
) -> AsyncGenerator[HistoryService]:
    """The read model in the folder, kept up to date from the log while it is open; `key` signs the heads of its
    tree."""
    async with aclosing(await Database.open(folder)) as database, _audit(folder, bus, readiness, key) as tree:
        alarms = Alarms(telemetry.metrics)
        objects = Objects(database, bus.values)
        chains = Chains(database, await database.call(queries.next_number))
        stored = await database.call(queries.reached)
        reached = Position.START if stored is None else Position.decode(stored)
        start = await _start(bus, reached, alarms)
        applier = Applier(chains, objects, alarms)
        async with Projector(database, chains, applier, reached, tree.written) as projector:
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

                exporter = Exporter(database, objects, tree, time.time_ns)
                yield HistoryService(database, objects, projector, catch_up, tree, exporter)


@asynccontextmanager
async def _audit(folder: Path, bus: Bus, readiness: Readiness, key: bytes) -> AsyncGenerator[AuditTree]:
    """The tree in the folder, which grows, is signed and told as the mesh's RuntimeConfig says while it is open."""
    async with aclosing(await open_tree(folder)) as database:
        tree = AuditTree(database, Signer(key), time.time_ns)
        declared = Declared(tree, Observations(bus))
        tree.on_anchored = declared.tell
        tasks = [
            asyncio.create_task(tree.run(), name="audit tree"),
            asyncio.create_task(declared.follow(bus.resources.watch()), name="audit settings"),
        ]

        async def health() -> Health:
            if any(task.done() for task in tasks):
                return Health(False, "the audit tree does not grow any more, or not as declared: restart history")
            return Health(True)

        readiness.register("audit", health)
        try:
            yield tree
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


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
