"""Builds the guardrails service from the platform."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from astromesh.v1.guardrails_pb2_grpc import add_GuardrailsServiceServicer_to_server
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.user_code.modules import Modules
from astromesh_guardrails.likeness import Likenesses
from astromesh_guardrails.service import GuardrailsService
from astromesh_guardrails.sources import Sources, token_counter
from astromesh_vectors.embedders.opening import Embedders

if TYPE_CHECKING:
    from astromesh_core.resources.agent import AgentSpec
    from astromesh_core.service import Platform


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server; closes the embedders that rules asked afterwards."""
    data, config = platform.settings.data_dir, Path(platform.settings.config_dir)
    modules = Modules(config / "embedders")
    embedders = Embedders(data, modules, os.environ)
    likenesses = Likenesses(embedders.of)

    def sources(agent: AgentSpec) -> Sources:
        return Sources(likenesses, config, token_counter(agent.model, data / "models"))

    service = GuardrailsService(platform.bus.resources, platform.bus.values, platform.telemetry, sources)

    def register(server: RpcServer) -> None:
        add_GuardrailsServiceServicer_to_server(service, server)

    try:
        yield register
    finally:
        await embedders.close()
        modules.close()
