"""The public gRPC SessionService: translation only. It does with memory what the HTTP surface does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from astromesh.v1.sessions_pb2 import (
    ClearSessionRequest,
    ClearSessionResponse,
    ExportSessionRequest,
    ExportSessionResponse,
    ExportUserRequest,
    ExportUserResponse,
    ForgetUserRequest,
    ForgetUserResponse,
    GetSessionHistoryRequest,
    GetSessionHistoryResponse,
    ListAgentSessionsRequest,
    ListAgentSessionsResponse,
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
from astromesh_gateway.memory.sessions import Sessions


class SessionServicer(SessionServiceServicer):
    """What agents remember, over gRPC."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ListAgentSessions(
        self, request: ListAgentSessionsRequest, context: ServicerContext
    ) -> ListAgentSessionsResponse:
        """A page of sessions, the last used first."""
        del context
        sessions, token = await self._sessions("viewer").listed(request.agent, request.page_size, request.page_token)
        return ListAgentSessionsResponse(sessions=sessions, next_page_token=token)

    async def GetSessionHistory(
        self, request: GetSessionHistoryRequest, context: ServicerContext
    ) -> GetSessionHistoryResponse:
        """A page of what a session remembers, oldest first."""
        del context
        history, token = await self._sessions("viewer").history(
            request.agent, request.session_id, request.page_size, request.page_token
        )
        return GetSessionHistoryResponse(history=history, next_page_token=token)

    async def ClearSession(self, request: ClearSessionRequest, context: ServicerContext) -> ClearSessionResponse:
        """Answers once the session is forgotten."""
        del context
        await self._sessions("user").clear(request.agent, request.session_id)
        return ClearSessionResponse()

    async def ExportSession(self, request: ExportSessionRequest, context: ServicerContext) -> ExportSessionResponse:
        """All that is remembered of a session."""
        del context
        return ExportSessionResponse(session=await self._sessions("viewer").exported(request.agent, request.session_id))

    async def ExportUser(
        self, request: ExportUserRequest, context: ServicerContext
    ) -> AsyncIterator[ExportUserResponse]:
        """All that is remembered of a person, a session at a time."""
        del context
        async with aclosing(self._sessions("viewer").of_user(request.user)) as sessions:
            async for session in sessions:
                yield ExportUserResponse(session=session)

    async def ForgetUser(self, request: ForgetUserRequest, context: ServicerContext) -> ForgetUserResponse:
        """Answers once the person is forgotten."""
        del context
        return ForgetUserResponse(sessions=await self._sessions("user").forget_user(request.user))

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

    def _sessions(self, role: Role) -> Sessions:
        return Sessions(self._gateway, _caller(role))


def _caller(role: Role) -> Caller:
    caller = current_caller()
    require(caller, role)
    return caller
