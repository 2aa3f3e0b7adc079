"""What is observed of each resource, in KV `status`: written by the operator alone, read by everyone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from astromesh.v1.control_pb2 import ResourceStatus
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.records import Change, Records, key_of
from astromesh_core.bus.streams import STATUS

StatusChange = Change[ResourceStatus]


class StatusStore:
    """Reads and writes the status of resources."""

    def __init__(self, nc: BusClient) -> None:
        self._records = Records(nc, STATUS, ResourceStatus)

    async def get(self, kind: str, namespace: str, name: str) -> ResourceStatus | None:
        """The status of the resource, None where none was written."""
        return await self._records.get(kind, namespace, name)

    async def list(self, kind: str | None = None, namespace: str | None = None) -> list[ResourceStatus]:
        """All statuses, or those of a kind, or of a kind in a namespace; by name."""
        return await self._records.list(kind, namespace)

    def watch(self, synced: asyncio.Event | None = None) -> AsyncGenerator[StatusChange, None]:
        """Every status that stands, then every change, for as long as it is iterated. See `Records.watch`."""
        return self._records.watch(synced)

    async def put(self, status: ResourceStatus) -> None:
        """Replaces the status; a second writer's would win. Raises Unavailable or TimedOut: then put it again."""
        key = key_of(status.ref.kind, status.ref.namespace, status.ref.name)
        await self._records.bucket.put(key, status.SerializeToString())

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Forgets the status of a resource that is gone. Idempotent."""
        await self._records.bucket.delete(key_of(kind, namespace, name))
