"""Builds the memory service from the platform."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from astromesh.v1.memory_pb2_grpc import add_MemoryServiceServicer_to_server
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Projection
from astromesh_core.conversations import START
from astromesh_core.events.identity import mesh_name
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.service import Platform
from astromesh_core.user_code.modules import Modules
from astromesh_memory.conversations import Conversations
from astromesh_memory.declarations import AgentDeclarations
from astromesh_memory.expiry import Expiry
from astromesh_memory.joining import Handle
from astromesh_memory.opening import Backends, Opener
from astromesh_memory.recall import Recaller
from astromesh_memory.related import Related, open_related
from astromesh_memory.seen import SeenAgents
from astromesh_memory.service import MemoryService
from astromesh_memory.sinks import Sinks
from astromesh_vectors.embedders.opening import Embedders
from astromesh_vectors.opening import Stores
from astromesh_vectors.own_classes import OwnClasses


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server. Leaving stores how far the log is applied."""
    folder = platform.settings.data_dir / "memory"
    seen = await SeenAgents.load(folder / "agents_seen.json")
    with own_classes(Path(platform.settings.config_dir) / "conversations") as own:
        backends = Backends(folder, mesh_name(platform.mesh_key), own)
        async with _opened(platform, seen, backends) as register:
            yield register


@contextmanager
def own_classes(folder: Path) -> Generator[OwnClasses]:
    """Users' classes of a folder, and of the Python path."""
    modules = Modules(folder)
    classes = OwnClasses(modules)
    try:
        yield classes
    finally:
        classes.close()
        modules.close()


@asynccontextmanager
async def _opened(platform: Platform, seen: SeenAgents, backends: Backends) -> AsyncGenerator[Registrar]:
    async with (
        open_conversations(platform.bus, seen, backends.open) as (conversations, reading),
        open_beside(platform) as related,
    ):
        bus, models = platform.bus, platform.settings.data_dir / "models"
        expiry = Expiry(conversations, bus.signals, time.time_ns)
        expiring = asyncio.create_task(expiry.run(), name="expiry")
        recaller = Recaller(bus.resources, conversations, bus.values, models, time.time_ns, platform.telemetry.spans)
        recaller.left_out = expiry.left_out
        service = MemoryService(conversations, recaller, related, bus.values)

        def register(server: RpcServer) -> None:
            add_MemoryServiceServicer_to_server(service, server)

        lag = platform.telemetry.metrics.projection_lag.labels("memory")
        lag.set_function(lambda: reading.lag_seconds)
        try:
            yield register
        finally:
            expiring.cancel()
            with suppress(asyncio.CancelledError):
                await expiring


@asynccontextmanager
async def open_beside(platform: Platform) -> AsyncGenerator[Related]:
    """Semantic and episodic memory, in the stores and by the embedders that agents declare, within the block."""
    settings, environ = platform.settings, os.environ
    data, config = settings.data_dir, Path(settings.config_dir)
    own_embedders, own_stores = Modules(config / "embedders"), Modules(config / "stores")
    embedders = Embedders(data, own_embedders, environ)
    mesh = mesh_name(platform.mesh_key)
    stores = Stores(data, own_stores, environ, mesh)
    sinks = Sinks(data / "memory", embedders, stores, mesh, environ)
    lag = platform.telemetry.metrics.projection_lag.labels("memory-runs")

    def watched(reading: Projection) -> None:
        lag.set_function(lambda: reading.lag_seconds)

    try:
        async with open_related(platform.bus, data / "memory", platform.mesh_key, sinks.open, watched) as related:
            yield related
    finally:
        await sinks.close()
        await embedders.close()
        stores.close()
        own_embedders.close()
        own_stores.close()


@asynccontextmanager
async def open_conversations(
    bus: Bus, seen: SeenAgents, opener: Opener
) -> AsyncGenerator[tuple[Conversations, Projection]]:
    """The conversations of all agents, and what feeds them, within the block."""
    declarations = AgentDeclarations(bus.resources)
    conversations = Conversations(BusLog(bus), seen, opener, declarations)
    await conversations.check_log()
    watching = asyncio.create_task(declarations.watch(conversations.place), name="agents' memory")
    try:
        await declarations.synced.wait()
        await conversations.start()
        position = _position(conversations.position)
        async with Projection(bus, "memory", conversations.handle, position, verifies=False) as reading:
            yield conversations, reading
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await conversations.close()


class BusLog:
    """The log on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def end(self) -> Position:
        """The last position that is there now."""
        return await self._bus.log.end()

    def feed(self, name: str, handle: Handle, after: bytes) -> Projection:
        """Feeds the handler within the block. That a backend is away, or far behind, is its agents' trouble and makes
        no process unready."""
        projection = Projection(self._bus, name, handle, _position(after), verifies=False)
        projection.max_lag_seconds = float("inf")
        return projection


def _position(encoded: bytes) -> Position:
    return Position.START if encoded == START else Position.decode(encoded)
