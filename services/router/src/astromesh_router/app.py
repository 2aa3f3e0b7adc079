"""Builds the router from the platform: the only place that names concrete dialects."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from astromesh.v1.history_pb2_grpc import HistoryServiceStub
from astromesh.v1.router_pb2_grpc import add_RouterServiceServicer_to_server
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.user_code.modules import Modules
from astromesh_router.breakers import SharedBreakers
from astromesh_router.budgets.configured import watching
from astromesh_router.budgets.logged import LoggedSpend, unlogged
from astromesh_router.budgets.purse import BudgetedPurse, keeping
from astromesh_router.budgets.turning import AskLog
from astromesh_router.calls import Calls
from astromesh_router.declared import DeclaredCandidates
from astromesh_router.dialects.anthropic import Anthropic
from astromesh_router.dialects.custom import CUSTOM, CustomProviders
from astromesh_router.dialects.deferred import Deferred
from astromesh_router.dialects.extractive import Extractive
from astromesh_router.dialects.ollama import Ollama
from astromesh_router.dialects.onnx import Onnx
from astromesh_router.dialects.openai_chat import OpenAIChat
from astromesh_router.dialects.port import Dialect
from astromesh_router.followed import following
from astromesh_router.introduced import IntroducedCandidates
from astromesh_router.observing import observing
from astromesh_router.ports import Breakers, Purse
from astromesh_router.service import RouterService
from astromesh_router.strategist import LearningStrategist

if TYPE_CHECKING:
    from astromesh_core.rpc.connections import Connections
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

    bus, telemetry = platform.bus, platform.telemetry
    breakers = SharedBreakers(telemetry.metrics, bus.endpoints, router=platform.instance)
    custom = CustomProviders(Modules(Path(platform.settings.config_dir) / "providers"), os.environ)
    models = platform.settings.data_dir / "models"
    try:
        async with (
            open_purse(platform) as purse,
            open_calls(embedder, os.environ, telemetry, breakers, custom, models, purse) as calls,
            observing(bus, platform.instance, breakers, calls.dialect) as health,
            following(bus.resources) as resources,
        ):
            service = RouterService(IntroducedCandidates(DeclaredCandidates(resources), custom), calls, health)

            def register(server: RpcServer) -> None:
                add_RouterServiceServicer_to_server(service, server)

            yield register
    finally:
        await custom.close()
        if embedder.cache_info().currsize:
            await embedder().close()


@asynccontextmanager
async def open_calls(
    embedder: Callable[[], Embedder],
    environ: Mapping[str, str],
    telemetry: Telemetry,
    breakers: Breakers | None = None,
    custom: CustomProviders | None = None,
    models: Path = Path(),
    purse: Purse | None = None,
) -> AsyncGenerator[Calls]:
    """Every dialect that is built, on connections that are closed at the end. `custom` stays the caller's; `models` is
    the folder of those that are loaded here."""
    http, onnx = HttpDialects(environ), Onnx(models)
    dialects = talking(http, embedder, onnx)
    if custom is not None:
        dialects[CUSTOM] = custom
    try:
        yield Calls(dialects, telemetry, strategist=LearningStrategist(), breakers=breakers, purse=purse)
    finally:
        await http.close()
        await onnx.close()


@asynccontextmanager
async def open_purse(platform: Platform) -> AsyncGenerator[Purse]:
    """Every budget of the mesh; what this replica holds of them is given back at the end."""
    bus, metrics, ask_log = platform.bus, platform.telemetry.metrics, spend_of(platform.connections)
    async with watching(bus.resources) as configured:
        purse = BudgetedPurse(platform.instance, bus.budgets, configured, ask_log, metrics, time.time_ns)
        async with keeping(purse):
            yield purse


def spend_of(connections: Connections) -> AskLog:
    """Whom to ask what the log knows to be spent: history, where there is one."""
    try:
        channel = connections.channel("history")
    except InvalidInput:
        return unlogged
    return LoggedSpend(HistoryServiceStub(channel))


def talking(http: HttpDialects, embedder: Callable[[], Embedder], onnx: Onnx) -> dict[str, Dialect]:
    """How each built-in dialect is talked, by its name in `astromesh_core.resources.vendors`."""
    return {
        "openai_compat": Deferred(lambda: http.speaking(OpenAIChat())),
        "ollama": Deferred(lambda: http.speaking(Ollama())),
        "anthropic": Deferred(lambda: http.speaking(Anthropic())),
        "extractive": Extractive(embedder),
        "onnx": onnx,
    }


def no_embedder() -> Embedder:
    """Stands in where there is no data folder to keep one in: shared words then decide what is near."""
    raise NotSupported("no embedder stands alone")


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
