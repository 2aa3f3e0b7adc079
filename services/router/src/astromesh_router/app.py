"""Builds the router from the platform: the only place that names concrete dialects."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from astromesh.v1.router_pb2_grpc import add_RouterServiceServicer_to_server
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.declared import DeclaredCandidates
from astromesh_router.dialects.deferred import Deferred
from astromesh_router.dialects.extractive import Extractive
from astromesh_router.dialects.ollama import Ollama
from astromesh_router.dialects.openai_chat import OpenAIChat
from astromesh_router.dialects.port import Dialect
from astromesh_router.service import RouterService
from astromesh_router.strategist import LearningStrategist

if TYPE_CHECKING:
    from astromesh_core.service import Platform
    from astromesh_router.dialects.streaming import WireFormat
    from astromesh_router.wire import Wire
    from astromesh_vectors.ports import Embedder


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server; closes connections and the embedder afterwards."""

    @cache
    def embedder() -> Embedder:
        # Imported at the first extractive answer: most meshes never need it here.
        from astromesh_vectors.minilm.shared import SharedMiniLM

        return SharedMiniLM(platform.settings.data_dir)

    async with open_calls(embedder, os.environ, platform.telemetry) as calls:
        service = RouterService(DeclaredCandidates(platform.bus.resources), calls)

        def register(server: RpcServer) -> None:
            add_RouterServiceServicer_to_server(service, server)

        yield register
    if embedder.cache_info().currsize:
        await embedder().close()


@asynccontextmanager
async def open_calls(
    embedder: Callable[[], Embedder],
    environ: Mapping[str, str],
    telemetry: Telemetry,
) -> AsyncGenerator[Calls]:
    """Every dialect that is built, on connections that are closed at the end."""
    http = HttpDialects(environ)
    dialects = {
        "openai_compat": Deferred(lambda: http.speaking(OpenAIChat())),
        "ollama": Deferred(lambda: http.speaking(Ollama())),
        "extractive": Extractive(embedder),
    }
    try:
        yield Calls(dialects, telemetry, strategist=LearningStrategist())
    finally:
        await http.close()


class HttpDialects:
    """Makes the dialects that speak HTTP, all on one pool of connections. Nothing is imported before the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = Lock()
        self._wire: Wire | None = None

    def speaking(self, wire_format: WireFormat) -> Dialect:
        """A dialect in this format. Called in threads."""
        from astromesh_router.dialects.streaming import HttpDialect
        from astromesh_router.wire import Wire

        with self._lock:
            self._wire = self._wire or Wire()
        return HttpDialect(self._wire, wire_format, self._environ)

    async def close(self) -> None:
        """Closes the connections."""
        if self._wire is not None:
            await self._wire.close()
