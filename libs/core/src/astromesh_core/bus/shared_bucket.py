"""A bucket, followed once per connection for any number of watchers in the process. What its values mean is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.feed import Delivered, Feed, OrderedFeed
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.errors import TemporaryError

_HEARTBEAT_SECONDS = 2.0
_RETRY_SECONDS = 0.1
_LOOK_SECONDS = 0.01


class Written(NamedTuple):
    """A key's newest value; empty where the key is deleted."""

    key: str
    value: bytes


Writes = asyncio.Queue[Written | None]
"""What a watcher gets, in order. None: everything that stood has come, now or again after the connection was lost."""


class SharedBucket:
    """Followed while somebody watches it."""

    def __init__(self, nc: BusClient, bucket: Bucket) -> None:
        self._nc = nc
        self._bucket = bucket
        self._everything = bucket.subject(">")
        self._reader = StreamReader(nc, bucket.stream)
        self._standing: dict[str, bytes] = {}
        self._watchers: list[Writes] = []
        self._users = 0
        self._feed: OrderedFeed | None = None

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[Writes]:
        """Every value that stands, then every write, for as long as the block lasts."""
        writes: Writes = asyncio.Queue()
        self._users += 1
        try:
            if self._feed is None:
                self._watchers.append(writes)
                await self._begin()
            else:
                await self._up_to_date(self._feed)
                for key, value in self._standing.items():
                    writes.put_nowait(Written(key, value))
                writes.put_nowait(None)
                self._watchers.append(writes)
            yield writes
        finally:
            self._users -= 1
            if writes in self._watchers:
                self._watchers.remove(writes)
            if not self._users:
                await self._end()

    async def _begin(self) -> None:
        feed = Feed(self._bucket.stream, [self._everything], newest_only=True, heartbeat_seconds=_HEARTBEAT_SECONDS)
        self._feed = OrderedFeed(self._nc, feed, self._on_write, self._on_caught_up)
        await self._feed.__aenter__()

    async def _end(self) -> None:
        feed, self._feed = self._feed, None
        self._standing.clear()
        if feed is not None:
            await feed.__aexit__(None, None, None)

    async def _up_to_date(self, feed: OrderedFeed) -> None:
        """Returns once everything that the leader holds has been heard: whoever wrote and then watches sees it."""
        while True:
            try:
                if await self._reader.next(self._everything, Position(feed.position)) is None:
                    return
            except TemporaryError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                await asyncio.sleep(_LOOK_SECONDS)

    def _on_write(self, message: Delivered) -> None:
        written = Written(self._bucket.key(message.subject), message.data)
        # What was written last comes last to a later watcher too.
        self._standing.pop(written.key, None)
        if written.value:
            self._standing[written.key] = written.value
        for writes in self._watchers:
            writes.put_nowait(written)

    def _on_caught_up(self) -> None:
        for writes in self._watchers:
            writes.put_nowait(None)
