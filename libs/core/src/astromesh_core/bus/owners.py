"""Who owns which partition, for those who only want to know. Owning stands in `ownership`."""

from __future__ import annotations

from astromesh.v1.partition_pb2 import PartitionOwner
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.streams import PARTITIONS


async def partition_owners(bus: Bus) -> dict[int, str]:
    """The worker that owns each partition, a moment ago; a partition that nobody owns is left out."""
    owners: dict[int, str] = {}
    for entry in await Bucket(bus.nc, PARTITIONS).entries("partition.*"):
        worker = PartitionOwner.FromString(entry.value).worker
        if worker:
            owners[int(entry.key.rpartition(".")[2])] = worker
    return owners
