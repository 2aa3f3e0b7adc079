"""Builds the guardrails service from the platform."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from astromesh.v1.guardrails_pb2_grpc import add_GuardrailsServiceServicer_to_server
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.service import Platform
from astromesh_guardrails.service import GuardrailsService


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer to a server. Holds nothing that needs closing."""
    service = GuardrailsService(platform.bus.resources, platform.bus.values, platform.telemetry)

    def register(server: RpcServer) -> None:
        add_GuardrailsServiceServicer_to_server(service, server)

    yield register
