"""Who ingests a pipeline at this moment: a key with a time to live, so that one process does, and another one can once
it is gone. What an ingestion does stands in `ingestion_store`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from astromesh.v1.ingestion_events_pb2 import IngestionLease
from astromesh_core.bus.buckets import Bucket, Entry
from astromesh_core.bus.lease import Lease, clock
from astromesh_core.bus.subjects import pipeline_token
from astromesh_core.errors import AstromeshError, Cancelled, Conflict, NotFound, TemporaryError, Unavailable
from astromesh_core.events.identity import check_namespace

TTL_SECONDS: Final = 6
RENEW_SECONDS: Final = 1.5


class LeaseLost(Unavailable):
    """The bus heard nothing of this process for so long that another one may ingest the pipeline by now."""


class HeldLease:
    """The right to ingest a pipeline, as long as `keep` runs. Release it."""

    def __init__(
        self, bucket: Bucket, key: str, record: IngestionLease, revision: int, sent: float, now: Callable[[], float]
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._record = record
        self._revision = revision
        self._now = now
        self._lease = Lease(TTL_SECONDS)
        self._lease.renew(sent)

    @property
    def valid(self) -> bool:
        """True where nobody else can ingest the pipeline now. Ask right before writing."""
        return self._lease.valid(self._now())

    async def name(self, ingestion_id: str) -> None:
        """Says that it is another ingestion that is run. Raises LeaseLost, or what writing raises."""
        if ingestion_id == self._record.ingestion_id:
            return
        self._record.ingestion_id = ingestion_id
        try:
            self._revision = await self._bucket.put(
                self._key, self._record.SerializeToString(), expected=self._revision, ttl=TTL_SECONDS
            )
        except Conflict as error:
            raise LeaseLost("another process ingests the pipeline") from error

    async def keep(self) -> None:
        """Renews until it is cancelled. Raises Cancelled, with the reason, where somebody wants the ingestion to end,
        and LeaseLost."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            sent = self._now()
            try:
                revision = await self._bucket.put(
                    self._key, self._record.SerializeToString(), expected=self._revision, ttl=TTL_SECONDS, seconds=2.0
                )
            except Conflict:
                await self._look()
            except TemporaryError as error:
                if not self.valid:
                    raise LeaseLost(f"the right to ingest ran out: {error.message}") from error
            else:
                self._revision = revision
                self._lease.renew(sent)

    async def release(self) -> None:
        """Lets the next one begin at once. Idempotent; where the bus is away, the time to live does it."""
        self._lease.end()
        try:
            await self._bucket.delete(self._key, expected=self._revision)
        except AstromeshError:
            return

    async def _look(self) -> None:
        """After a renewal was refused: somebody wants the end, a late renewal of ours landed, or another has it."""
        entry = await self._bucket.newest(self._key)
        record = _read(entry)
        if entry is None or record is None or (record.runner, record.ingestion_id) != _who(self._record):
            raise LeaseLost("another process ingests the pipeline")
        if record.cancel_reason:
            self._revision = entry.revision
            raise Cancelled(record.cancel_reason)
        self._revision = entry.revision


class IngestionLeases:
    """The leases of all pipelines."""

    def __init__(self, bucket: Bucket, now: Callable[[], float] = clock) -> None:
        self._bucket = bucket
        self._now = now

    async def take(self, namespace: str, pipeline: str, record: IngestionLease) -> HeldLease | None:
        """The right to ingest the pipeline now; None while another holds it."""
        key, sent = _key(namespace, pipeline), self._now()
        entry = await self._bucket.newest(key)
        standing = _read(entry)
        # One of our own is of a write whose answer was lost.
        if standing is not None and _who(standing) != _who(record):
            return None
        try:
            revision = await self._bucket.put(
                key, record.SerializeToString(), expected=entry.revision if entry else 0, ttl=TTL_SECONDS
            )
        except Conflict:
            return None
        return HeldLease(self._bucket, key, record, revision, sent, self._now)

    async def holder(self, namespace: str, pipeline: str) -> IngestionLease | None:
        """Who ingests the pipeline now; None where nobody does."""
        return _read(await self._bucket.newest(_key(namespace, pipeline)))

    async def cancel(self, namespace: str, pipeline: str, ingestion: str, reason: str) -> None:
        """Has the ingestion end within seconds, whichever process runs it. Raises NotFound where none does."""
        key = _key(namespace, pipeline)
        for _ in range(5):
            entry = await self._bucket.newest(key)
            record = _read(entry)
            if entry is None or record is None or record.ingestion_id != ingestion:
                raise NotFound(f"nobody runs the ingestion {ingestion[:80]!r} of pipeline {pipeline} now")
            record.cancel_reason = reason
            try:
                await self._bucket.put(key, record.SerializeToString(), expected=entry.revision, ttl=TTL_SECONDS)
            except Conflict:
                continue
            return
        raise Unavailable("the ingestion's lease changes faster than it can be written; ask again", retry_after=1.0)


def _key(namespace: str, pipeline: str) -> str:
    return f"lease.{check_namespace(namespace)}.{pipeline_token(pipeline)}"


def _read(entry: Entry | None) -> IngestionLease | None:
    return IngestionLease.FromString(entry.value) if entry is not None and entry.value else None


def _who(record: IngestionLease) -> tuple[str, str]:
    return record.runner, record.ingestion_id
