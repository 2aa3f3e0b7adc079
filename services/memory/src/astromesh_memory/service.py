"""The rpc of memory: what a session's agent gets to remember, and what people may look at."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final, TypeVar

from astromesh.v1.memory_pb2 import (
    CheckMemoryRequest,
    CheckMemoryResponse,
    FindUserSessionsRequest,
    FindUserSessionsResponse,
    HistoryEntry,
    ListHistoryRequest,
    ListHistoryResponse,
    ListRelatedRequest,
    ListRelatedResponse,
    ListSessionsRequest,
    ListSessionsResponse,
    RebuildMemoryRequest,
    RebuildMemoryResponse,
    RecallRelatedRequest,
    RecallRelatedResponse,
    RecallRequest,
    RecallResponse,
    RememberedSession,
)
from astromesh.v1.memory_pb2_grpc import MemoryServiceServicer
from astromesh.v1.values_pb2 import Content
from astromesh_core.bus.positions import Position
from astromesh_core.conversations import FIRST, AgentKey, Place, Session
from astromesh_core.errors import InvalidInput
from astromesh_core.rpc.deadlines import remaining
from astromesh_core.rpc.ports import ServicerContext
from astromesh_memory.conversations import Conversations
from astromesh_memory.recall import Recaller, Values, opened
from astromesh_memory.related import Related
from astromesh_memory.status import conversations_health

Value = TypeVar("Value")

LONGEST_WAIT: Final = 10.0
"""Seconds that a call waits for the log to be applied; the rest of its deadline if that is less."""

_TIME_TO_ANSWER: Final = 0.1
_DEFAULT_PAGE, _LARGEST_PAGE = 50, 200


class MemoryService(MemoryServiceServicer):
    """Answers from the conversations, and from semantic and episodic memory beside them."""

    def __init__(self, conversations: Conversations, recaller: Recaller, related: Related, values: Values) -> None:
        self._conversations = conversations
        self._recaller = recaller
        self._related = related
        self._values = values

    async def Recall(self, request: RecallRequest, context: ServicerContext) -> RecallResponse:
        """Returns what the agent's strategy lets through of the session; nothing where the agent declares no
        conversational memory.

        Raises Unavailable where memory does not reach `after_position` in time, or its backend is away.
        """
        return await self._recaller.recall(request, _wait())

    async def ListHistory(self, request: ListHistoryRequest, context: ServicerContext) -> ListHistoryResponse:
        """Returns a page of the session's messages, oldest first. `page_size` counts runs; a run is never split."""
        size = _page_size(request.page_size)
        agent, after = AgentKey(request.namespace, request.agent), _place(request.page_token)
        turns = await self._conversations.page(agent, request.session_key, after, size + 1, _wait())
        page = [turn for turn in turns[:size] if request.user_key in ("", turn.user_key)]
        response = ListHistoryResponse(
            entries=[
                HistoryEntry(run_id=turn.run_id, time_unix_nano=turn.time_unix_nano, message=message)
                for turn in page
                for message in opened(turn).turn
            ],
            next_page_token=_token(turns[size - 1].place) if len(turns) > size else "",
        )
        if not request.page_token and not request.user_key:
            recalled = await self._conversations.last(agent, request.session_key, 1, seconds=_wait())
            if recalled is not None and recalled.summary is not None:
                response.summary.ParseFromString(recalled.summary.text)
        await self._values.resolve_all(response)
        return response

    async def ListSessions(self, request: ListSessionsRequest, context: ServicerContext) -> ListSessionsResponse:
        """Returns a page of an agent's sessions, the last used first."""
        size = _page_size(request.page_size)
        agent, before = AgentKey(request.namespace, request.agent), _used(request.page_token)
        sessions = await self._conversations.sessions(agent, before, size + 1, _wait())
        page = sessions[:size]
        response = ListSessionsResponse(
            sessions=[_remembered(session) for session in page],
            next_page_token=_used_token(page[-1]) if len(sessions) > size else "",
        )
        await self._values.resolve_all(response)
        return response

    async def FindUserSessions(
        self, request: FindUserSessionsRequest, context: ServicerContext
    ) -> FindUserSessionsResponse:
        """Returns every session in which something of a person is remembered.

        Raises Unavailable where one of the backends is away: what is not seen there must not pass for nothing.
        """
        if not request.user_key:
            raise InvalidInput("user_key is empty")
        found = await self._conversations.of_user(request.namespace, request.user_key, _wait())
        response = FindUserSessionsResponse(sessions=[_remembered(session) for session in found])
        await self._values.resolve_all(response)
        known = {session.session_key for session in found}
        beside = await self._related.kept.sessions_of(request.namespace, request.user_key, _wait())
        response.sessions.extend(session for session in beside if session.session_key not in known)
        return response

    async def RecallRelated(self, request: RecallRelatedRequest, context: ServicerContext) -> RecallRelatedResponse:
        """Returns what semantic and episodic memory have on the question, among runs that the caller may be told of.

        Raises Unavailable where a store is away, or memory does not reach `after_position` in time.
        """
        return await self._related.remembering.recall(request, _wait())

    async def ListRelated(self, request: ListRelatedRequest, context: ServicerContext) -> ListRelatedResponse:
        """Returns all that semantic and episodic memory keep of a session or a person. Raises Unavailable."""
        if not request.session_key and not request.user_key:
            raise InvalidInput("name a session_key or a user_key")
        return await self._related.kept.related(request, _wait())

    async def RebuildMemory(self, request: RebuildMemoryRequest, context: ServicerContext) -> RebuildMemoryResponse:
        """Returns when all three kinds of memory are again what the log says. Raises Unavailable."""
        agent = AgentKey(request.namespace, request.agent)
        seconds = max(0.0, remaining() - _TIME_TO_ANSWER)
        await self._conversations.rebuild(agent, seconds)
        rebuilt = await self._related.rebuilder.rebuild(request.namespace, request.agent)
        turns, last = 0, None
        while page := await self._conversations.sessions(agent, last, _LARGEST_PAGE, seconds):
            turns += sum(session.turns for session in page)
            last = (page[-1].last_unix_nano, page[-1].session_key)
        return RebuildMemoryResponse(turns=turns, semantic=rebuilt.semantic, episodic=rebuilt.episodic)

    async def CheckMemory(self, request: CheckMemoryRequest, context: ServicerContext) -> CheckMemoryResponse:
        """Asks the stores that the agent declares now."""
        agent = AgentKey(request.agent.namespace, request.agent.name)
        health = await conversations_health(self._conversations, agent, _wait())
        beside = await self._related.kept.health(request.agent)
        return CheckMemoryResponse(stores=[*([health] if health is not None else []), *beside])


def _wait() -> float:
    return max(0.0, min(LONGEST_WAIT, remaining() - _TIME_TO_ANSWER))


def _page_size(asked: int) -> int:
    if asked < 0:
        raise InvalidInput("page_size must not be negative")
    return min(asked or _DEFAULT_PAGE, _LARGEST_PAGE)


def _remembered(session: Session) -> RememberedSession:
    return RememberedSession(
        session_key=session.session_key,
        agent=session.agent,
        session_id=Content.FromString(session.session_id),
        turns=session.turns,
        first_unix_nano=session.first_unix_nano,
        last_unix_nano=session.last_unix_nano,
    )


def _token(place: Place) -> str:
    return base64.urlsafe_b64encode(place.event_index.to_bytes(4, "big") + place.position).decode()


def _place(token: str) -> Place:
    if not token:
        return FIRST

    def read(data: bytes) -> Place:
        Position.decode(data[4:])
        return Place(data[4:], int.from_bytes(data[:4], "big"))

    return _read(token, read)


def _used_token(session: Session) -> str:
    return base64.urlsafe_b64encode(f"{session.last_unix_nano}:{session.session_key}".encode()).decode()


def _used(token: str) -> tuple[int, str] | None:
    if not token:
        return None

    def read(data: bytes) -> tuple[int, str]:
        time, _, key = data.decode().partition(":")
        return int(time), key

    return _read(token, read)


def _read(token: str, read: Callable[[bytes], Value]) -> Value:
    try:
        return read(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, InvalidInput) as error:
        raise InvalidInput(
            "page_token is none that this service gave out; leave it empty for the first page"
        ) from error
