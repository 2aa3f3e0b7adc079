"""Builds the rag service from the platform: the only file that names concrete embedders and stores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from astromesh.v1.rag_pb2_grpc import add_RagServiceServicer_to_server
from astromesh_core.events.identity import mesh_name
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.user_code.modules import Modules
from astromesh_rag.ingestions import Ingestions
from astromesh_rag.pipelines import Pipelines
from astromesh_rag.service import RagService
from astromesh_rag.sources import Sources
from astromesh_rag.timetable import Timetable
from astromesh_rag.upkeep import Ingesting, Upkeep
from astromesh_vectors.embedders.opening import Embedders
from astromesh_vectors.minilm.tokens import MiniLMWords
from astromesh_vectors.opening import Stores
from astromesh_vectors.rerankers.opening import Rerankers

if TYPE_CHECKING:
    from astromesh_core.service import Platform

SYNC_SECONDS = 5.0
"""How long the start waits for the resources that stand already."""

START_SECONDS = 1.5
"""How long background ingestion leaves the cores to the start of the other services."""


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server; stops ingestions and closes stores and embedders afterwards."""
    # Imported here because FastStream, which it brings along, is slow to import and not needed by tests of the rest.
    from astromesh_core.bus.observations import Observations

    bus, data = platform.bus, platform.settings.data_dir
    modules = Modules(Path(platform.settings.config_dir) / "embedders")
    embedders = Embedders(data, modules, os.environ)
    own_stores = Modules(Path(platform.settings.config_dir) / "stores")
    stores = Stores(data, own_stores, os.environ, mesh_name(platform.mesh_key))
    own_rerankers = Modules(Path(platform.settings.config_dir) / "rerankers")
    rerankers = Rerankers(data / "models", own_rerankers, os.environ)
    spans = platform.telemetry.spans
    pipelines = Pipelines(data, MiniLMWords(), embedders.of, stores.open, rerankers.of, spans)
    started = asyncio.sleep(START_SECONDS)
    ingestions = Ingestions(bus.ingestions, platform.instance)
    ingesting = Ingesting(ingestions, Timetable(bus.ingestions.schedules))
    sources = Sources(platform.settings.config_dir)
    upkeep = Upkeep(pipelines, sources, ingesting, Observations(bus), started)
    synced = asyncio.Event()
    following = asyncio.create_task(upkeep.follow(bus.resources.watch(synced)), name="rag pipelines")
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(SYNC_SECONDS):
                await synced.wait()
        service = RagService(pipelines, upkeep, ingestions, bus.values, platform.telemetry)

        def register(server: RpcServer) -> None:
            add_RagServiceServicer_to_server(service, server)

        yield register
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await upkeep.close()
        await pipelines.close()
        await embedders.close()
        await rerankers.close()
        modules.close()
        stores.close()
        own_stores.close()
        own_rerankers.close()
