"""The public gRPC SessionService: translation only. It does with memory what the HTTP surface does."""

from __future__ import annotations

from astromesh.v1.sessions_pb2 import (
    RebuildAgentMemoryRequest,
    RebuildAgentMemoryResponse,
    SearchMemoryRequest,
    SearchMemoryResponse,
)
from astromesh.v1.sessions_pb2_grpc import SessionServiceServicer
from astromesh_core.rpc.identity import Caller, current_caller
from astromesh_core.rpc.ports import ServicerContext
from astromesh_gateway.auth import Role, require
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.memory.asking import rebuild, search


class SessionServicer(SessionServiceServicer):
    """What agents remember, over gRPC."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def SearchMemory(self, request: SearchMemoryRequest, context: ServicerContext) -> SearchMemoryResponse:
        """What a run with this question would be told of earlier ones."""
        del context
        found = await search(
            self._gateway,
            _caller("user"),
            request.agent,
            request.query,
            session=request.session_id,
            user=request.user,
        )
        return SearchMemoryResponse(memories=found.memories, episodes=found.episodes)

    async def RebuildAgentMemory(
        self, request: RebuildAgentMemoryRequest, context: ServicerContext
    ) -> RebuildAgentMemoryResponse:
        """How much is remembered once all of it is made again from the log."""
        del context
        rebuilt = await rebuild(self._gateway, _caller("admin"), request.agent)
        return RebuildAgentMemoryResponse(turns=rebuilt.turns, semantic=rebuilt.semantic, episodic=rebuilt.episodic)


def _caller(role: Role) -> Caller:
    caller = current_caller()
    require(caller, role)
    return caller
