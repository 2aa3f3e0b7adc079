"""What sessions and persons left with agents: listed, told whole, and forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from astromesh.v1.history_pb2 import FindOpenRunsRequest
from astromesh.v1.memory_pb2 import (
    FindUserSessionsRequest,
    ListHistoryRequest,
    ListHistoryResponse,
    ListRelatedRequest,
    ListSessionsRequest,
    RememberedSession,
)
from astromesh.v1.sessions_pb2 import SessionExport, SessionMessage, SessionSummary
from astromesh.v1.signal_pb2 import ClearSessionSignal, EraseUserSignal
from astromesh_core.errors import InvalidInput, TimedOut, Unavailable
from astromesh_core.events.identity import session_key, user_key
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.session_signals import session_signal, written
from astromesh_gateway.shown import shown

MAX_USER_CHARACTERS: Final = 512
FORGET_SECONDS: Final = 10.0
"""How long a caller waits until memory has forgotten what the log says is forgotten."""

AT_ONCE: Final = 16
"""Sessions of a person that are told to forget at a time."""

_POLL_SECONDS = 0.05
_EXPORT_PAGE = 200


class _Place(NamedTuple):
    """A session of an agent."""

    agent: str
    session_key: str


class Sessions:
    """What one caller may see and forget: that of its namespace."""

    def __init__(self, gateway: Gateway, caller: Caller) -> None:
        self._gateway = gateway
        self._caller = caller
        self._memory = gateway.services.memory

    async def listed(self, agent: str, size: int, token: str) -> tuple[list[SessionSummary], str]:
        """A page of the agent's sessions, the last used first, and the token of the next one. Raises NotFound."""
        self._known(agent)
        request = ListSessionsRequest(namespace=self._caller.namespace, agent=agent, page_size=size, page_token=token)
        response = await self._memory.ListSessions(request)
        await self._gateway.bus.values.resolve_all(response)
        return [_summary(session) for session in response.sessions], response.next_page_token

    async def history(self, agent: str, session: str, size: int, token: str) -> tuple[list[SessionMessage], str]:
        """A page of what the session remembers, oldest first. Nothing of one that nobody has used. Raises NotFound."""
        response = await self._page(agent, self._key(agent, session), size, token)
        return _messages(response), response.next_page_token

    async def exported(self, agent: str, session: str) -> SessionExport:
        """All that is remembered of the session. Raises NotFound."""
        known = RememberedSession(agent=agent, session_key=self._key(agent, session))
        known.session_id.text = session
        return await self._exported(known)

    async def clear(self, agent: str, session: str) -> None:
        """Forgets everything that the session remembers, once its runs at work have ended.

        Raises NotFound, and TimedOut where that takes long: it will be forgotten all the same.
        """
        key = self._key(agent, session)
        signal = session_signal(self._caller, key)
        signal.clear_session.CopyFrom(ClearSessionSignal(agent=agent))
        cleared = await written(self._gateway.bus, self._caller.namespace, signal)

        async def forgotten() -> bool:
            page = await self._page(agent, key, 1, "")
            return all(entry.time_unix_nano > cleared.time_unix_nano for entry in page.entries)

        await _until(forgotten, "the session")

    async def of_user(self, user: str) -> AsyncGenerator[SessionExport]:
        """All that is remembered of a person, session by session: their own turns alone.

        Raises Unavailable where a store of any agent is away.
        """
        key = self._user(user)
        for session in await self._sessions_of(key):
            yield await self._exported(session, key)

    async def forget_user(self, user: str) -> int:
        """Forgets the person in every session of every agent; answers in how many there was anything.

        Raises Unavailable where a store of any agent is away: what cannot be seen might be left. TimedOut where a
        session is busy for long: it will forget all the same.
        """
        key, asked = self._user(user), time.time_ns()
        sessions = await self._touched_by(key, asked)
        await self._erase(sessions, key)

        async def forgotten() -> bool:
            left = sessions & await self._touched_by(key, asked)
            # A run of which its session's owner heard after the erasure.
            await self._erase(left, key)
            return not left

        await _until(forgotten, "the user")
        return len(sessions)

    async def _touched_by(self, key: str, asked: int) -> set[_Place]:
        """Where something of the person is remembered, or will be once runs that were asked for by then have ended."""
        # In this order: a run that ends in between is remembered by then.
        at_work = await self._at_work(key, asked)
        return at_work | {_Place(it.agent, it.session_key) for it in await self._sessions_of(key)}

    async def _at_work(self, key: str, asked: int) -> set[_Place]:
        request = FindOpenRunsRequest(namespace=self._caller.namespace, user_key=key, until_unix_nano=asked)
        try:
            response = await self._gateway.services.history.FindOpenRuns(request)
        except Unavailable:
            # A mesh without history cannot see what is at work; what is remembered is forgotten there all the same.
            if "history" not in self._gateway.directory.switched_off():
                raise
            return set()
        return {_Place(run.agent, run.session_key) for run in response.runs}

    async def _erase(self, sessions: Iterable[_Place], key: str) -> None:
        """Returns once each session's log says so, which is when its runs at work have ended."""
        places = asyncio.Semaphore(AT_ONCE)

        async def erase(session: _Place) -> None:
            signal = session_signal(self._caller, session.session_key)
            signal.erase_user.CopyFrom(EraseUserSignal(agent=session.agent, user_key=key))
            async with places:
                await written(self._gateway.bus, self._caller.namespace, signal)

        await asyncio.gather(*map(erase, sessions))

    async def _exported(self, session: RememberedSession, user: str = "") -> SessionExport:
        export, token = SessionExport(), ""
        while True:
            page = await self._page(session.agent, session.session_key, _EXPORT_PAGE, token, user)
            export.history.extend(_messages(page))
            if not token and page.HasField("summary"):
                export.summary = shown(page.summary)
            token = page.next_page_token
            if not token:
                break
        related = await self._memory.ListRelated(
            ListRelatedRequest(namespace=self._caller.namespace, session_key=session.session_key, user_key=user)
        )
        export.memories.extend(related.memories)
        export.episodes.extend(related.episodes)
        await self._gateway.bus.values.resolve_all(export)
        export.session.CopyFrom(_counted(session, export))
        return export

    async def _page(self, agent: str, key: str, size: int, token: str, user: str = "") -> ListHistoryResponse:
        request = ListHistoryRequest(
            namespace=self._caller.namespace,
            agent=agent,
            session_key=key,
            page_size=size,
            page_token=token,
            user_key=user,
        )
        response = await self._memory.ListHistory(request)
        await self._gateway.bus.values.resolve_all(response)
        return response

    async def _sessions_of(self, key: str) -> list[RememberedSession]:
        request = FindUserSessionsRequest(namespace=self._caller.namespace, user_key=key)
        response = await self._memory.FindUserSessions(request)
        await self._gateway.bus.values.resolve_all(response)
        return list(response.sessions)

    def _known(self, agent: str) -> None:
        self._gateway.directory.record("Agent", self._caller.namespace, agent)

    def _key(self, agent: str, session: str) -> str:
        self._known(agent)
        return session_key(self._gateway.mesh_key, self._caller.namespace, agent, session)

    def _user(self, user: str) -> str:
        if not user or len(user) > MAX_USER_CHARACTERS:
            raise InvalidInput(f"user must have 1 to {MAX_USER_CHARACTERS} characters")
        return user_key(self._gateway.mesh_key, self._caller.namespace, user)


async def _until(forgotten: Callable[[], Awaitable[bool]], what: str) -> None:
    """Returns once memory shows nothing from before: it applies the log a moment later."""
    away = ""
    try:
        async with asyncio.timeout(FORGET_SECONDS):
            while True:
                try:
                    if await forgotten():
                        return
                except Unavailable as error:
                    away = f": {error.message}"
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        pass
    raise TimedOut(f"{what} will be forgotten, as the log says by now, and is not yet{away}")


def _summary(session: RememberedSession) -> SessionSummary:
    return SessionSummary(
        agent=session.agent,
        session_id=shown(session.session_id) if session.HasField("session_id") else "",
        turns=session.turns,
        first_unix_nano=session.first_unix_nano,
        last_unix_nano=session.last_unix_nano,
    )


def _counted(session: RememberedSession, export: SessionExport) -> SessionSummary:
    """Of what is exported, which may be one person's part of the session."""
    times = [message.time_unix_nano for message in export.history]
    summary = _summary(session)
    summary.turns = len({message.run_id for message in export.history})
    summary.first_unix_nano, summary.last_unix_nano = min(times, default=0), max(times, default=0)
    return summary


def _messages(response: ListHistoryResponse) -> list[SessionMessage]:
    return [
        SessionMessage(run_id=entry.run_id, time_unix_nano=entry.time_unix_nano, message=entry.message)
        for entry in response.entries
    ]
