"""The whole log, read once per connection for any number of readers, none of which can hold up another.

A reader at the end of the log hangs on the common feed. One that lies far behind, or whose buffer ran full, reads by a
feed of its own, at its own pace, until it meets the common one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from astromesh_core.bus.client import BusClient
from astromesh_core.bus.feed import Delivered, Feed, OrderedFeed
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.bus.streams import RUNS
from astromesh_core.bus.subjects import Aggregate, aggregate_of_subject
from astromesh_core.errors import AstromeshError, InvalidInput, TemporaryError
from astromesh_core.events.chain import StoredEvent, open_commit

_RECENT = 256
_ENDS_KEPT = 120
_POLL_SECONDS = 1.0


class LogMessage:
    """A stored commit on its way to several readers, opened once."""

    __slots__ = ("_aggregate", "_events", "data", "sequence", "subject")

    def __init__(self, sequence: int, subject: str, data: bytes) -> None:
        self.sequence = sequence
        self.subject = subject
        self.data = data
        self._events: list[StoredEvent] | None = None
        self._aggregate: Aggregate | None = None

    @property
    def aggregate(self) -> Aggregate:
        """Whose commit it is. Raises InvalidInput where the subject names none."""
        if self._aggregate is None:
            self._aggregate = aggregate_of_subject(self.subject)
        return self._aggregate

    @property
    def events(self) -> list[StoredEvent]:
        """The commit's events. Raises Bug where the message is no commit."""
        if self._events is None:
            self._events = open_commit(self.data)
        return self._events


class LogReader(Protocol):
    """What hangs on the feed. `offered` is the sequence of the last message it took."""

    offered: int

    def offer(self, message: LogMessage) -> bool:
        """Takes the message, or answers False where there is no room."""
        ...

    async def room(self) -> None:
        """Waits until there is room."""
        ...


class SharedFeed:
    """The feeds of one connection."""

    def __init__(self, nc: BusClient) -> None:
        self._nc = nc
        self._reader = StreamReader(nc, RUNS)
        self._common: OrderedFeed | None = None
        self._readers: list[LogReader] = []
        self._heard: dict[Aggregate, list[Callable[[LogMessage], None]]] = {}
        self._recent: deque[LogMessage] = deque(maxlen=_RECENT)
        self._own: dict[LogReader, OrderedFeed] = {}
        self._ends: deque[tuple[float, int]] = deque(maxlen=_ENDS_KEPT)
        self._starting = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def attach(self, reader: LogReader) -> None:
        """Offers the reader everything after what it took last, in order, until it is detached."""
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll(), name="end of the log")
        async with self._starting:
            if self._common is None:
                self._common = OrderedFeed(self._nc, Feed(RUNS, after=await self._find_end()), self._on_common)
                await self._common.__aenter__()
        if not self._join(reader):
            await self._part(reader)

    async def detach(self, reader: LogReader) -> None:
        """Offers the reader nothing more. The last one ends the feed."""
        if reader in self._readers:
            self._readers.remove(reader)
        own = self._own.pop(reader, None)
        if own is not None:
            await own.__aexit__(None, None, None)
        if not self._readers and not self._own:
            await self._close()

    def hear(self, aggregate: Aggregate, listener: Callable[[LogMessage], None]) -> Callable[[], None] | None:
        """Calls the listener with the aggregate's commits that are stored from now on, once each and in order, until
        the answered function is called or the feed ends. None where the log is not being read here."""
        if self._common is None or self._common.trouble:
            return None
        listeners = self._heard.setdefault(aggregate, [])
        listeners.append(listener)

        def stop() -> None:
            listeners.remove(listener)
            if not listeners:
                self._heard.pop(aggregate, None)

        return stop

    def trouble(self, reader: LogReader) -> str:
        """Why the reader is offered nothing at present; empty where all is well."""
        feed = self._own.get(reader, self._common)
        return "not attached" if feed is None else feed.trouble

    def consumer(self, reader: LogReader) -> str:
        """The name of the consumer that serves the reader now."""
        feed = self._own.get(reader, self._common)
        return "" if feed is None else feed.consumer

    def lag_seconds(self, sequence: int) -> float:
        """For how long the log has been longer than up to this sequence, to the second; 0 where it is not."""
        behind = [seen for seen, end in self._ends if end > sequence]
        return time.monotonic() - behind[0] if behind else 0.0

    def ends_before(self, position: Position, since: float) -> bool:
        """True where the log was asked since that (monotonic) time, and is shorter than up to the position."""
        return any(end < position.sequence for asked, end in self._ends if asked >= since)

    async def _find_end(self) -> int:
        while True:
            try:
                return (await self._reader.end()).sequence
            except TemporaryError:
                await asyncio.sleep(_POLL_SECONDS / 10)

    async def _close(self) -> None:
        common, self._common = self._common, None
        poller, self._poller = self._poller, None
        self._recent.clear()
        self._ends.clear()
        if common is not None:
            await common.__aexit__(None, None, None)
        if poller is not None:
            poller.cancel()
            with suppress(asyncio.CancelledError):
                await poller
        await asyncio.gather(*self._closing)

    async def _poll(self) -> None:
        while True:
            with suppress(AstromeshError):
                self._ends.append((time.monotonic(), (await self._reader.end()).sequence))
            await asyncio.sleep(_POLL_SECONDS)

    def _on_common(self, message: Delivered) -> Awaitable[None] | None:
        opened = LogMessage(message.sequence, message.subject, message.data)
        self._recent.append(opened)
        if self._heard:
            self._tell(opened)
        full = [reader for reader in self._readers if not _offer(reader, opened)]
        return self._part_all(full) if full else None

    def _tell(self, message: LogMessage) -> None:
        # One that is no commit is for the readers to report.
        with suppress(InvalidInput):
            for listener in tuple(self._heard.get(message.aggregate, ())):
                listener(message)

    def _join(self, reader: LogReader) -> bool:
        """Hangs the reader on the common feed where that has not gone on without it."""
        if self._common is None:
            return False
        missed = [message for message in self._recent if message.sequence > reader.offered]
        covered = self._recent and self._recent[0].sequence <= reader.offered + 1
        if self._common.position > reader.offered and not covered:
            return False
        if not all(_offer(reader, message) for message in missed):
            return False
        self._readers.append(reader)
        return True

    async def _part_all(self, readers: list[LogReader]) -> None:
        for reader in readers:
            self._readers.remove(reader)
            await self._part(reader)

    async def _part(self, reader: LogReader) -> None:
        def on_message(message: Delivered) -> Awaitable[None] | None:
            if self._own.get(reader) is not own:
                return None
            if not _offer(reader, LogMessage(message.sequence, message.subject, message.data)):
                return self._later(reader, message)
            if self._join(reader):
                del self._own[reader]
                self._end_soon(own)
            return None

        own = self._own[reader] = OrderedFeed(self._nc, Feed(RUNS, after=reader.offered), on_message)
        await own.__aenter__()

    async def _later(self, reader: LogReader, message: Delivered) -> None:
        while not _offer(reader, LogMessage(message.sequence, message.subject, message.data)):
            await reader.room()

    def _end_soon(self, feed: OrderedFeed) -> None:
        # Not from within its own callback.
        task = asyncio.create_task(feed.__aexit__(None, None, None))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _offer(reader: LogReader, message: LogMessage) -> bool:
    return message.sequence <= reader.offered or reader.offer(message)
