"""The router's gRPC methods: translation only. Choosing stands in `calls`, talking in `dialects`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

from astromesh.v1.router_pb2 import (
    CheckProvidersRequest,
    CheckProvidersResponse,
    CompleteRequest,
    CompleteResponse,
)
from astromesh.v1.router_pb2_grpc import RouterServiceServicer
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.candidates import DEFAULT_ROLE
from astromesh_core.rpc.ports import ServicerContext
from astromesh_router.calls import Calls
from astromesh_router.candidates import Pool
from astromesh_router.health import Health


class CandidateSource(Protocol):
    """Knows which models an agent may use."""

    async def pool(self, ref: ResourceRef, role: str) -> Pool:
        """What an agent's role, or a Provider alone, offers. Raises NotFound, InvalidInput."""
        ...


class RouterService(RouterServiceServicer):
    """Completes prompts with the models that agents declare."""

    def __init__(self, source: CandidateSource, calls: Calls, health: Health | None = None) -> None:
        """Without `health` nobody observes providers: each is asked when somebody asks about it."""
        self._source = source
        self._calls = calls
        self._health = health or Health(calls.dialect)

    async def Complete(self, request: CompleteRequest, context: ServicerContext) -> AsyncIterator[CompleteResponse]:
        pool = await self._source.pool(request.agent, request.role)
        async with aclosing(self._calls.complete(pool, request)) as responses:
            async for response in responses:
                yield response

    async def CheckProviders(self, request: CheckProvidersRequest, context: ServicerContext) -> CheckProvidersResponse:
        pool = await self._source.pool(request.agent, DEFAULT_ROLE)
        return CheckProvidersResponse(providers=await self._health.of(pool.candidates))
