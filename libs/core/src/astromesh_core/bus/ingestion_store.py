"""The stream INGESTIONS: appending what happens to an ingestion, and finding ingestions again. Who runs one at a time
stands in `ingestion_lease`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import NamedTuple

from astromesh.v1.envelope_pb2 import AGGREGATE_TYPE_INGESTION, Envelope
from astromesh.v1.ingestion_events_pb2 import INGESTION_CAUSE_GIVEN, IngestionEvent
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.ingestion_lease import IngestionLeases
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StoredMessage, StreamReader
from astromesh_core.bus.schedules import Schedules
from astromesh_core.bus.streams import INGESTING, INGESTIONS
from astromesh_core.bus.subjects import Aggregate, ingestion_aggregate, ingestion_filter
from astromesh_core.events.chain import GENESIS, ChainHead, build_commit, open_commit, seal

ENDS = frozenset(("completed", "failed", "cancelled"))
"""The events after which there is none."""

_EVENT_ID_BYTES = 16

Clock = Callable[[], int]
"""Unix time in nanoseconds."""


class StoredIngestion(NamedTuple):
    """An ingestion by its last event, which tells its state."""

    id: str
    last: Envelope

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.last.ingestion.WhichOneof("event") in ENDS


class IngestionChain:
    """The one writer of an ingestion. Not for use by several tasks at once."""

    def __init__(
        self, log: EventLog, aggregate: Aggregate, producer: str, position: Position, head: ChainHead, clock: Clock
    ) -> None:
        self._log = log
        self._aggregate = aggregate
        self._producer = producer
        self._position = position
        self._head = head
        self._clock = clock

    async def append(self, *bodies: IngestionEvent) -> None:
        """Stores the events, all or none; they are on disk when this returns.

        Raises AppendConflict where another process goes on with the ingestion: then this one must stop. Raises
        StoreFull, and waits as long as the bus is away.
        """
        head, sealed = self._head, list[bytes]()
        for body in bodies:
            data, head = seal(self._envelope(body), head)
            sealed.append(data)
        commit = build_commit(sealed)
        self._position = await self._log.append(self._aggregate.log, self._aggregate, commit, self._position)
        self._head = head

    def _envelope(self, body: IngestionEvent) -> Envelope:
        return Envelope(
            event_id=secrets.token_hex(_EVENT_ID_BYTES),
            aggregate_type=AGGREGATE_TYPE_INGESTION,
            aggregate_id=self._aggregate.id,
            time_unix_nano=self._clock(),
            producer=self._producer,
            namespace=self._aggregate.namespace,
            ingestion=body,
        )


class IngestionStore:
    """Every ingestion of every pipeline, who runs it, and the schedules. Safe for concurrent callers."""

    def __init__(self, nc: BusClient) -> None:
        self._log = EventLog(nc, stream=INGESTIONS)
        self._reader = StreamReader(nc, INGESTIONS)
        bucket = Bucket(nc, INGESTING)
        self.leases = IngestionLeases(bucket)
        self.schedules = Schedules(bucket)

    def begin(
        self, namespace: str, pipeline: str, ingestion: str, *, given: bool, producer: str, clock: Clock
    ) -> IngestionChain:
        """The chain of an ingestion that has no event yet; its first append raises AppendConflict where it has."""
        aggregate = ingestion_aggregate(namespace, pipeline, ingestion, given=given)
        return IngestionChain(self._log, aggregate, producer, Position.START, GENESIS, clock)

    async def take_over(
        self, namespace: str, stored: StoredIngestion, *, producer: str, clock: Clock
    ) -> IngestionChain:
        """The chain of an ingestion that somebody began. From its first append on, the one before appends no more."""
        event = stored.last.ingestion
        given = event.cause == INGESTION_CAUSE_GIVEN
        aggregate = ingestion_aggregate(namespace, event.pipeline, stored.id, given=given)
        tail = await self._log.tail(aggregate)
        position, head = (tail.position, tail.head) if tail is not None else (Position.START, GENESIS)
        return IngestionChain(self._log, aggregate, producer, position, head, clock)

    async def newest(self, namespace: str, pipeline: str, *, given: bool) -> StoredIngestion | None:
        """The ingestion of the kind that was written last: of a kind, a pipeline has one at a time."""
        kind = "given" if given else "sources"
        message = await self._reader.last(ingestion_filter(namespace, pipeline, kind=kind))
        return _stored(message) if message is not None else None

    async def page(self, namespace: str, pipeline: str, limit: int, before: str = "") -> list[StoredIngestion]:
        """At most `limit` ingestions, newest first, of those older than `before` (an id)."""
        subjects = await self._reader.subjects(ingestion_filter(namespace, pipeline))
        older = (subject for subject in subjects if not before or _id_of(subject) < before)
        found = [await self._reader.last(subject) for subject in sorted(older, key=_id_of, reverse=True)[:limit]]
        return [_stored(message) for message in found if message is not None]

    async def events(self, namespace: str, pipeline: str, ingestion: str) -> list[Envelope]:
        """Every event of an ingestion, in order; none where there is no such ingestion."""
        pattern = ingestion_filter(namespace, pipeline, ingestion=ingestion)
        messages = await self._reader.batch(pattern, Position.START)
        return [event.envelope for message in messages for event in open_commit(message.data)]


def _id_of(subject: str) -> str:
    return subject.rsplit(".", 2)[1]


def _stored(message: StoredMessage) -> StoredIngestion:
    return StoredIngestion(_id_of(message.subject), open_commit(message.data)[-1].envelope)
