"""Up to when the schedules of pipelines are dealt with, so that what was missed is made up for once. When a schedule is
due is computed elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from astromesh.v1.ingestion_events_pb2 import IngestionDue
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.subjects import pipeline_token
from astromesh_core.events.identity import check_namespace


class StoredDue(NamedTuple):
    """A record, None where there is none; and the revision that the next write has to expect."""

    record: IngestionDue | None
    revision: int


class Schedules:
    """The records in KV `ingesting`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def get(self, namespace: str, pipeline: str) -> StoredDue:
        """The pipeline's record as it is now."""
        entry = await self._bucket.newest(_key(namespace, pipeline))
        if entry is None:
            return StoredDue(None, 0)
        return StoredDue(IngestionDue.FromString(entry.value) if entry.value else None, entry.revision)

    async def put(self, namespace: str, pipeline: str, record: IngestionDue, *, expected: int) -> None:
        """Replaces the record. Raises Conflict where another replica did meanwhile."""
        await self._bucket.put(_key(namespace, pipeline), record.SerializeToString(), expected=expected)


def _key(namespace: str, pipeline: str) -> str:
    return f"due.{check_namespace(namespace)}.{pipeline_token(pipeline)}"
