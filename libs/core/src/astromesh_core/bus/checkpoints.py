"""How far the owner of a partition has come: one record per partition, which only the newest epoch may write."""

from __future__ import annotations

from astromesh.v1.partition_pb2 import PartitionCheckpoint
from astromesh_core.bus.buckets import Bucket, Entry
from astromesh_core.errors import Conflict

_ATTEMPTS = 5


class Checkpoints:
    """The checkpoints in KV `partitions`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._revisions: dict[int, int] = {}

    async def load(self, partition: int, epoch: int) -> PartitionCheckpoint:
        """The partition's checkpoint, stamped with the epoch: from now on an older epoch's save is refused.

        Raises Conflict where a newer epoch holds it.
        """
        for _ in range(_ATTEMPTS):
            stored = await self._bucket.newest(_key(partition))
            checkpoint = _decode(stored)
            _refuse_newer(checkpoint, partition, epoch)
            self._revisions[partition] = stored.revision if stored else 0
            if stored is not None and checkpoint.epoch == epoch:
                return checkpoint
            checkpoint.epoch = epoch
            if await self._stored(partition, checkpoint):
                return checkpoint
        raise Conflict(f"the checkpoint of partition {partition} changes faster than it can be read")

    async def save(self, partition: int, checkpoint: PartitionCheckpoint) -> None:
        """Replaces the checkpoint. Raises Conflict where a newer epoch holds it; after TimedOut, retry."""
        if partition not in self._revisions:
            await self.load(partition, checkpoint.epoch)
        for _ in range(_ATTEMPTS):
            if await self._stored(partition, checkpoint):
                return
            stored = await self._bucket.newest(_key(partition))
            _refuse_newer(_decode(stored), partition, checkpoint.epoch)
            self._revisions[partition] = stored.revision if stored else 0
        raise Conflict(f"the checkpoint of partition {partition} is written by another worker too")

    async def _stored(self, partition: int, checkpoint: PartitionCheckpoint) -> bool:
        try:
            self._revisions[partition] = await self._bucket.put(
                _key(partition), checkpoint.SerializeToString(), expected=self._revisions[partition]
            )
        except Conflict:
            return False
        return True


def _key(partition: int) -> str:
    return f"checkpoint.{partition}"


def _decode(entry: Entry | None) -> PartitionCheckpoint:
    return PartitionCheckpoint.FromString(entry.value if entry else b"")


def _refuse_newer(stored: PartitionCheckpoint, partition: int, epoch: int) -> None:
    if stored.epoch > epoch:
        raise Conflict(f"partition {partition} is at epoch {stored.epoch}; epoch {epoch} has lost it")
