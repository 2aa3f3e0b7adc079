"""What the replicas of the router know of endpoints, in KV `endpoints`: written by compare-and-set, heard by each as it
is written, expiring by themselves. What a record means stands in the router."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from astromesh.v1.endpoint_pb2 import EndpointRecord
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.feed import Delivered, Feed, OrderedFeed
from astromesh_core.bus.streams import ENDPOINTS


class StoredEndpoint(NamedTuple):
    """A record with its place in the order of all writes."""

    key: str
    record: EndpointRecord
    revision: int


class EndpointStore:
    """Reads, writes and hears the records. A key is a word of A-Z, a-z, 0-9, `-`, `_` and `.`."""

    def __init__(self, nc: BusClient) -> None:
        self._nc = nc
        self._bucket = Bucket(nc, ENDPOINTS)

    async def put(
        self, key: str, record: EndpointRecord, *, ttl: float, expected: int | None = None, seconds: float = 2.0
    ) -> int:
        """Stores the record for `ttl` seconds, rounded up, and answers its revision.

        `expected` is the revision that must stand now (0: none does). Raises Conflict where another one does; after
        TimedOut (within `seconds`) or Unavailable it may have been stored or not.
        """
        value = record.SerializeToString()
        return await self._bucket.put(key, value, expected=expected, ttl=max(1, math.ceil(ttl)), seconds=seconds)

    async def newest(self, key: str) -> StoredEndpoint | None:
        """What stands at the key, None where nothing does or it has expired. Raises Unavailable, TimedOut."""
        entry = await self._bucket.newest(key)
        return StoredEndpoint(key, EndpointRecord.FromString(entry.value), entry.revision) if entry else None

    def watch(
        self, heard: Callable[[StoredEndpoint], None], caught_up: Callable[[], None] | None = None
    ) -> OrderedFeed:
        """Calls `heard` with what stands and then with every write, this one's own too, while it is entered.

        `caught_up` is called once all that stood has been heard, also after the server was away.
        """

        def deliver(message: Delivered) -> None:
            record = EndpointRecord.FromString(message.data)
            heard(StoredEndpoint(self._bucket.key(message.subject), record, message.sequence))

        feed = Feed(self._bucket.stream, [self._bucket.subject(">")], newest_only=True)
        return OrderedFeed(self._nc, feed, deliver, caught_up)
