"""Following one aggregate without a consumer: live commits joined with the log by index.

Where this process reads the whole log anyway, live commits come from there, opened once for all; elsewhere as the
server repeats them, at most once. So the log is read after subscribing, on a gap, after a reconnect, and whenever
nothing came for two seconds while the aggregate is open (a lost last message leaves no gap).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Protocol

from nats.aio.msg import Msg

from astromesh_core.bus.client import BusClient
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.bus.shared_feed import SharedFeed
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import TemporaryError
from astromesh_core.events.chain import StoredEvent, open_commit
from astromesh_core.events.runs import is_terminal

SILENCE_SECONDS = 2.0

_HELD_COMMITS = 1_000
_RETRY_SECONDS = 0.1


class _Commit(Protocol):
    """A stored commit as it arrives."""

    @property
    def sequence(self) -> int: ...

    @property
    def events(self) -> list[StoredEvent]: ...


class _Repeated:
    """A commit that the server repeats under the live subject."""

    __slots__ = ("_message",)

    def __init__(self, message: Msg) -> None:
        self._message = message

    @property
    def sequence(self) -> int:
        return int((self._message.headers or {}).get("Nats-Sequence", 0))

    @property
    def events(self) -> list[StoredEvent]:
        return open_commit(self._message.data)


class _Arrivals:
    """Live commits that wait to be taken. Beyond its bound it forgets them all: the log has them."""

    def __init__(self) -> None:
        self._commits: deque[_Commit] = deque()
        self._taker: asyncio.Future[None] | None = None
        self._silent_at = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self.incomplete = True
        """The log is to be read: something may have passed unheard."""

    def hear(self, commit: _Commit) -> None:
        if len(self._commits) >= _HELD_COMMITS:
            self._commits.clear()
            self.incomplete = True
        self._commits.append(commit)
        self._wake()

    def break_off(self) -> None:
        """What passes from now on may pass unheard."""
        self.incomplete = True
        self._wake()

    async def take(self, seconds: float) -> _Commit | None:
        """The next commit; None once the log is to be read instead: after this long a silence, or at once."""
        if not self._commits and not self.incomplete:
            loop = asyncio.get_running_loop()
            self._silent_at = loop.time() + seconds
            if self._silence is None:
                self._silence = loop.call_at(self._silent_at, self._ring)
            self._taker = loop.create_future()
            try:
                await self._taker
            finally:
                self._taker = None
        return None if self.incomplete or not self._commits else self._commits.popleft()

    def close(self) -> None:
        """Rings no more."""
        if self._silence is not None:
            self._silence.cancel()

    def _ring(self) -> None:
        # One timer for all waits, moved when it rings too early: one for each would cost as much as reading the commit.
        loop = asyncio.get_running_loop()
        if self._taker is not None and loop.time() < self._silent_at:
            self._silence = loop.call_at(self._silent_at, self._ring)
        else:
            self._silence = None
            if self._taker is not None:
                self.break_off()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)


class LiveCommits:
    """What is stored from now on, aggregate by aggregate."""

    def __init__(self, client: BusClient, feed: SharedFeed | None = None) -> None:
        """`feed`: of this connection, where it has one."""
        self._client = client
        self._feed = feed

    async def listen(self, aggregate: Aggregate, arrivals: _Arrivals) -> Callable[[], None]:
        """Has the aggregate's commits heard, until the answered function is called."""
        stop = self._feed.hear(aggregate, arrivals.hear) if self._feed is not None else None
        if stop is None:
            listening = await self._client.listen(aggregate.live, lambda message: arrivals.hear(_Repeated(message)))
            stop = listening.close
        forget = self._client.on_reconnect(arrivals.break_off)

        def close() -> None:
            stop()
            forget()
            arrivals.close()

        return close


class NewFollower:
    """See EventLog.follow_new. A class, because each of the generators that it spares costs as much as an event."""

    def __init__(self, live: LiveCommits, reader: StreamReader, aggregate: Aggregate) -> None:
        self._live = live
        self._reader = reader
        self._aggregate = aggregate
        self._arrivals = _Arrivals()

    async def __aenter__(self) -> AsyncGenerator[StoredEvent, None]:
        # Nothing is stored yet, so whatever comes first comes live.
        self._arrivals.incomplete = False
        self._stop = await self._live.listen(self._aggregate, self._arrivals)
        self._events = _join(self._arrivals, self._reader, self._aggregate, 0, Position.START)
        return self._events

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        await self._events.aclose()


async def follow(
    live: LiveCommits, reader: StreamReader, aggregate: Aggregate, from_index: int, after: Position
) -> AsyncGenerator[StoredEvent, None]:
    """See EventLog.follow."""
    async with (
        _listening(live, aggregate) as arrivals,
        aclosing(_join(arrivals, reader, aggregate, from_index, after)) as events,
    ):
        async for event in events:
            yield event


@asynccontextmanager
async def _listening(live: LiveCommits, aggregate: Aggregate) -> AsyncGenerator[_Arrivals, None]:
    arrivals = _Arrivals()
    stop = await live.listen(aggregate, arrivals)
    try:
        yield arrivals
    finally:
        stop()


async def _join(
    arrivals: _Arrivals, reader: StreamReader, aggregate: Aggregate, from_index: int, after: Position
) -> AsyncGenerator[StoredEvent, None]:
    next_index = from_index if after > Position.START else 0
    heard: _Commit | None = None
    while True:
        live = await arrivals.take(SILENCE_SECONDS)
        if live is None:
            arrivals.incomplete = False
            if heard is not None:
                after = max(after, Position(heard.sequence))
            events, after = await _read(reader, aggregate, after)
        else:
            events = live.events
            if events[0].index > next_index:
                arrivals.incomplete = True
                continue
            heard = live
        for event in events:
            if event.index < next_index:
                continue
            next_index = event.index + 1
            if event.index >= from_index:
                yield event
            if event.envelope.HasField("run") and is_terminal(event.envelope.run):
                return


async def _read(reader: StreamReader, aggregate: Aggregate, after: Position) -> tuple[list[StoredEvent], Position]:
    while True:
        try:
            messages = await reader.batch(aggregate.filter, after)
        except TemporaryError:
            # The bus is away: followers wait for it.
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        events = [event for message in messages for event in open_commit(message.data)]
        return events, messages[-1].position if messages else after
