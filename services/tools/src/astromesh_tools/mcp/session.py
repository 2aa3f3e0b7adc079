"""One connection with one server, in a task of its own: the SDK's contexts are left by the task that entered them.

Whatever the SDK or a server raises ends a request, or the connection, and is read off the task that it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation, PaginatedRequestParams, Tool, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from astromesh_core.errors import AstromeshError, InvalidInput, LimitExceeded, TimedOut, Unavailable
from astromesh_tools.mcp.http import SENDING, Sending
from astromesh_tools.mcp.outcomes import leaf, words
from astromesh_tools.mcp.transports import Said, streams

if TYPE_CHECKING:
    from mcp.client.session import ClientSession, IncomingMessage

    from astromesh_core.outbound import Outbound
    from astromesh_tools.mcp.servers import Server

Result = TypeVar("Result")

MOST_LISTED: Final = 10_000
MOST_PAGES: Final = 1_000
FEW: Final = 200
"""Tools that are listed anew whenever it is looked whether the server is well."""

_LISTEN_AGAIN_SECONDS: Final = 1.0
_LAST_WORDS_SECONDS: Final = 0.5
_LONGEST_LAST_WORDS: Final = 400
_ABOUT_US: Final = Implementation(name="astromesh", version="0.1.0")


@dataclass(frozen=True)
class Listing:
    """The tools of a server at one moment, and who it says it is."""

    tools: tuple[Tool, ...]
    version: str
    tells_changes: bool
    has_resources: bool
    has_prompts: bool


@dataclass(frozen=True)
class Asked(Generic[Result]):
    """How a request ended: with a result, with an error of whatever kind, or with neither in time."""

    result: Result | None = None
    error: BaseException | None = None


class Session:
    """A connection. It ends by itself where the server does, and is never entered again."""

    def __init__(self, server: Server, outbound: Outbound, *, legacy: bool, on_end: Callable[[Session], None]) -> None:
        """`legacy` shakes hands as servers before 2026 want it, without asking what the server speaks."""
        self._server = server
        self._outbound = outbound
        self._legacy = legacy
        self._said = Said()
        self._opening = Sending()
        self._client: Client | None = None
        self._listed: Listing | None = None
        self._opened = asyncio.Event()
        self._ending = asyncio.Event()
        self._asking = set[asyncio.Task[object]]()
        self._listing = asyncio.Lock()
        self._why = "the connection was closed"
        self.began = monotonic()
        self._retired = False
        self.stale = False
        """The server's tools have changed since they were listed."""
        self._task = asyncio.create_task(self._run(), name=f"mcp {server.shown}")
        self._task.add_done_callback(lambda task: (task.cancelled() or task.exception(), on_end(self)))

    @property
    def alive(self) -> bool:
        """Whether anything can be asked."""
        return self._opened.is_set() and not self._retired and not self._ending.is_set() and not self._task.done()

    @property
    def listing(self) -> Listing:
        """The server's tools as they were listed last."""
        assert self._listed is not None, "it is listed before it is opened"
        return self._listed

    async def opened(self) -> None:
        """Returns once the server has told its tools. Raises why it has not, within the time for that."""
        seconds = self._server.connect_seconds
        waiting = {asyncio.create_task(event.wait()) for event in (self._opened, self._ending)}
        try:
            await asyncio.wait((self._task, *waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not self.alive and self._ending.is_set():
                # The SDK says what is wrong, if it is told of it at all.
                await asyncio.wait((self._task,), timeout=_LAST_WORDS_SECONDS)
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            for task in waiting:
                task.cancel()
        if not self.alive:
            error = self.failure() or TimedOut(self._told(f"no answer within {seconds:g} s"))
            self.close()
            raise error

    def failure(self) -> AstromeshError | None:
        """Why it ended; None while it has not."""
        opening = self._opening if not self._opened.is_set() else Sending()
        if opening.unsent is not None:
            return opening.unsent
        if not self._task.done() and not self._ending.is_set():
            return None
        error = self._task.exception() if self._task.done() and not self._task.cancelled() else None
        alone = leaf(error) if error is not None else None
        if isinstance(alone, AstromeshError):
            return alone
        told = words(alone) if alone is not None else self._why
        told = f"{told}; it answered {opening.status}" if opening.status else told
        # A program that is not there: no use in waiting for it.
        kind = InvalidInput if isinstance(alone, FileNotFoundError | PermissionError) else Unavailable
        return kind(self._told(told))

    async def ask(
        self, request: Callable[[ClientSession], Awaitable[Result]], seconds: float, sending: Sending
    ) -> Asked[Result]:
        """Makes a request. One that is cancelled, or has no answer in time, is cancelled at the server, too; nobody
        waits until the server was told."""
        task = asyncio.create_task(self._sent(request, sending))
        self._asking.add(task)
        task.add_done_callback(self._forget)
        refused = sending.refused = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((task, refused), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            refused.cancel()
            if not task.done():
                task.cancel()
        if not task.done():
            return Asked(error=Unavailable("it was not taken")) if sending.is_refused else Asked()
        if task.cancelled():
            return Asked(error=Unavailable("the connection was closed"))
        error = task.exception()
        return Asked(error=error) if error is not None else Asked(result=task.result())

    async def relist(self) -> None:
        """Lists the tools anew. The connection is over where that cannot be done."""
        async with self._listing:
            self.stale = False
            asked = await self.ask(self._all_tools, self._server.connect_seconds, Sending())
            if asked.result is not None:
                self._listed = asked.result
            else:
                self._lost(asked.error)

    async def check(self) -> None:
        """Lists the tools anew, or, of a server that has many and tells of changes, a page of them."""
        if len(self.listing.tools) <= FEW or not self.listing.tells_changes:
            await self.relist()
            return
        asked = await self.ask(lambda session: session.list_tools(), self._server.connect_seconds, Sending())
        if asked.result is None:
            self._lost(asked.error)

    def _lost(self, error: BaseException | None) -> None:
        self._why = f"it does not list its tools: {_reason(error)}"
        # A write under way has its answer yet to come.
        self.retire()

    def retire(self) -> None:
        """Lets nothing more be asked, and ends it when what is under way has ended."""
        self._retired = True
        if not self._asking:
            self.close()

    def close(self) -> None:
        """Begins to end it. What is under way is cut off."""
        self._ending.set()
        if not self._opened.is_set() and not self._task.cancelling():
            # Once: a second cancel would catch the SDK as it stops the program, and leave that running.
            self._task.cancel()

    async def closed(self) -> None:
        """Returns when its task has ended: a program has exited, a session was given back."""
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        # Of the requests that open the connection; each later one has its own.
        SENDING.set(self._opening)
        way = streams(self._server, self._outbound, self._said, self._ending.set, self._not_taken)
        mode = "legacy" if self._legacy else "auto"
        async with Client(way, mode=mode, cache=None, client_info=_ABOUT_US, message_handler=self._heard) as client:
            self._client = client
            self._listed = await self._all_tools(client.session)
            self._opened.set()
            listening = asyncio.create_task(self._listen(client))
            try:
                await self._ending.wait()
            finally:
                listening.cancel()
                await asyncio.wait((listening,))

    async def _sent(self, request: Callable[[ClientSession], Awaitable[Result]], sending: Sending) -> Result:
        SENDING.set(sending)
        if self._client is None or self._ending.is_set() or self._task.done():
            sending.unsent = Unavailable("the connection was closed")
            raise sending.unsent
        return await request(self._client.session)

    def _not_taken(self) -> None:
        """Over SSE, the SDK sends nothing more once a message was not taken; answers still come."""
        if self._opened.is_set():
            self.retire()
        else:
            self._ending.set()

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._asking.discard(task)
        if self._retired and not self._asking:
            self.close()
        # Read, so that nobody is told of an error that nobody waits for.
        _ = task.cancelled() or task.exception()

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self.stale = True

    async def _listen(self, client: Client) -> None:
        """Hears of changes where the protocol has them asked for (2026-07-28); before it, they come unasked."""
        tools = client.server_capabilities.tools
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or tools is None or not tools.list_changed:
            return
        while True:
            listening = asyncio.create_task(self._changes(client))
            await _settled(listening)
            if isinstance(listening.exception(), MCPError):
                return
            # What came while nobody listened is not told again.
            self.stale = True
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    async def _changes(self, client: Client) -> None:
        async with client.listen(tools_list_changed=True) as changes:
            async for _ in changes:
                self.stale = True

    async def _all_tools(self, session: ClientSession) -> Listing:
        assert self._client is not None
        info, capabilities = self._client.server_info, self._client.server_capabilities
        tools = await _pages(session) if capabilities.tools is not None else []
        return Listing(
            tools=tuple(tools),
            version=info.version if info is not None else "",
            tells_changes=bool(capabilities.tools and capabilities.tools.list_changed),
            has_resources=capabilities.resources is not None,
            has_prompts=capabilities.prompts is not None,
        )

    def _told(self, text: str) -> str:
        said = f"; it said: {self._said.tail[-_LONGEST_LAST_WORDS:]}" if self._said.tail else ""
        return self._server.told(f"{text}{said}")


async def _pages(session: ClientSession) -> list[Tool]:
    tools, cursor, seen = list[Tool](), None, set[str]()
    for _ in range(MOST_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tools
        if cursor in seen:
            raise InvalidInput("its list of tools leads in a circle")
        seen.add(cursor)
        if len(tools) > MOST_LISTED:
            break
    raise LimitExceeded(f"it lists more than {MOST_LISTED} tools, or {MOST_PAGES} pages of them")


async def _settled(task: asyncio.Task[None]) -> None:
    """Waits for a task that ends with whoever waits for it."""
    try:
        await asyncio.wait((task,))
    finally:
        task.cancel()


def _reason(error: BaseException | None) -> str:
    return words(leaf(error)) if error is not None else "no answer in time"
