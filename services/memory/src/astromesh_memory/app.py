"""Builds the memory service from the platform."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from astromesh.v1.memory_pb2_grpc import add_MemoryServiceServicer_to_server
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Projection
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.service import Platform
from astromesh_core.telemetry.logs import logger
from astromesh_memory.conversations import Conversations
from astromesh_memory.database import Database, open_database
from astromesh_memory.projector import Projector
from astromesh_memory.service import MemoryService

_log = logger(__name__)


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server. Leaving stores how far the log is applied."""
    async with open_database(platform.settings.data_dir / "memory" / "conversations.sqlite") as database:
        projector = Projector(database, await start_of(database, platform.bus))
        service = MemoryService(platform.bus.resources, database, projector, platform.bus.values)

        def register(server: RpcServer) -> None:
            add_MemoryServiceServicer_to_server(service, server)

        reading = Projection(platform.bus, "memory", projector.handle, projector.applied, verifies=False)
        async with reading as projection:
            lag = platform.telemetry.metrics.projection_lag.labels("memory")
            lag.set_function(lambda: projection.lag_seconds)
            yield register
        await projector.save()


async def start_of(database: Database, bus: Bus) -> Position:
    """Returns where to go on reading the log. A database that is ahead of it belongs to another log, and is dropped."""
    position = await database.run(Conversations.position)
    if position <= await bus.log.end():
        return position
    _log.warning("the conversations belong to another log and are built again")
    await database.run(Conversations.drop)
    return Position.START
