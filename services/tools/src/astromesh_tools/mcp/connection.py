"""A server as all agents of a namespace share it: connected when somebody needs it, and again after it was lost."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from astromesh_core.errors import AstromeshError, PermanentError, TimedOut
from astromesh_core.telemetry.logs import logger
from astromesh_tools.mcp.session import Listing, Session

if TYPE_CHECKING:
    from astromesh_core.outbound import Outbound
    from astromesh_tools.mcp.servers import Server

CHECK_SECONDS: Final = 15.0
"""How often a connected server is looked after: whether it answers, and what it offers."""

IDLE_SECONDS: Final = 300.0
"""After which a connection that nobody needs is given up."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 30.0
_SHORT_LIFE: Final = 5.0
"""Seconds: a connection that is lost sooner is not opened again at once."""

_log = logger(__name__)


class Connection:
    """At most one session with a server. Whoever needs it waits for it, for as long as connecting may take since it was
    missed; after that, they are told at once why there is none, until there is one."""

    def __init__(self, server: Server, outbound: Outbound) -> None:
        self.server = server
        self._outbound = outbound
        self._session: Session | None = None
        self._sessions = set[Session]()
        """All that have not ended yet, those being opened and closed included."""
        self._failure: AstromeshError | None = None
        self._missed_since = 0.0
        self._needed = 0.0
        self._pause = 0.0
        self._turn = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._closed = False

    async def session(self) -> Session:
        """The session. Raises why there is none: nothing was sent, then."""
        self._needed = monotonic()
        while self._session is None or not self._session.alive:
            self._open()
            if isinstance(self._failure, PermanentError):
                raise self._failure
            left = self._missed_since + self.server.connect_seconds - monotonic()
            if left <= 0:
                raise self._failure or TimedOut(f"no answer within {self.server.connect_seconds:g} s")
            turn = self._turn
            try:
                async with asyncio.timeout(left):
                    await turn.wait()
            except TimeoutError:
                continue
        return self._session

    async def listing(self) -> Listing:
        """What the server offers now. Raises like `session`."""
        session = await self.session()
        if session.stale:
            await session.relist()
            session = await self.session()
        return session.listing

    def lost(self, session: Session) -> None:
        """Gives up a session that its server does not know any more; the next one who needs it opens another."""
        if session is self._session:
            self._session = None
            session.retire()

    async def close(self) -> None:
        """Ends the session, and opens none again."""
        self._closed = True
        for task in (self._opening, self._checking):
            if task is not None:
                task.cancel()
        for session in self._sessions:
            session.close()
        await asyncio.gather(*(session.closed() for session in self._sessions))

    def _open(self) -> None:
        if self._opening is None or self._opening.done():
            self._missed_since, self._failure = monotonic(), None
            self._opening = asyncio.create_task(self._opened(), name=f"mcp connection {self.server.shown}")

    async def _opened(self) -> None:
        """Opens a session, however often it takes while anybody needs one."""
        legacy = False
        while not self._closed and monotonic() - self._needed < IDLE_SECONDS:
            await asyncio.sleep(self._pause)
            session = Session(self.server, self._outbound, legacy=legacy, on_end=self._ended)
            self._sessions.add(session)
            try:
                await session.opened()
            except AstromeshError as error:
                if self._failure is None:
                    _log.warning("no connection", server=self.server.shown, reason=error.message)
                self._failure = error
                # Who answers nothing may be startled by a question that servers before 2026 do not know.
                legacy = isinstance(error, TimedOut) and not legacy
                self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
                self._turned()
                continue
            self._session, self._failure = session, None
            self._turned()
            if self._checking is None or self._checking.done():
                self._checking = asyncio.create_task(self._checked(), name=f"mcp check {self.server.shown}")
            return

    def _ended(self, session: Session) -> None:
        self._sessions.discard(session)
        if session is not self._session:
            return
        self._session = None
        if self._closed:
            return
        lasted = monotonic() - session.began
        self._pause = 0.0 if lasted >= _SHORT_LIFE else min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        _log.info("connection lost", server=self.server.shown, reason=str(session.failure()))
        if monotonic() - self._needed < IDLE_SECONDS:
            self._open()

    def _turned(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()

    async def _checked(self) -> None:
        while not self._closed:
            await asyncio.sleep(CHECK_SECONDS)
            session = self._session
            if monotonic() - self._needed >= IDLE_SECONDS:
                self._session = None
                if session is not None:
                    session.retire()
                return
            if session is not None and session.alive:
                await session.check()
