"""The desired resources: one record each in KV `resources`, and every version of a spec by its hash for ever."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable

from astromesh.v1.control_pb2 import (
    MANAGED_BY_API,
    MANAGED_BY_FILE,
    MANAGED_BY_KUBERNETES,
    MANAGED_BY_UNSPECIFIED,
    ManagedBy,
    ResourceRecord,
)
from astromesh.v1.values_pb2 import ResourceRef, StoredValue
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.records import Change, Records, key_of
from astromesh_core.bus.streams import RESOURCES
from astromesh_core.bus.values import CHUNK_BYTES, ValueStore
from astromesh_core.errors import Conflict, InvalidInput, NotFound

ResourceChange = Change[ResourceRecord]

OWNERS: dict[ManagedBy.ValueType, str] = {
    MANAGED_BY_FILE: "file",
    MANAGED_BY_API: "api",
    MANAGED_BY_KUBERNETES: "kubernetes",
}
"""Every owner by the name that users see."""

_ATTEMPTS = 5
_CACHED_SPECS = 512


class ResourceStore:
    """Reads and writes resources."""

    def __init__(self, nc: BusClient, values: ValueStore, now: Callable[[], int] = time.time_ns) -> None:
        self._records = Records(nc, RESOURCES, ResourceRecord)
        self._values = values
        self._now = now
        self._specs: OrderedDict[bytes, str] = OrderedDict()

    async def get(self, kind: str, namespace: str, name: str) -> ResourceRecord | None:
        """The resource, None where there is none."""
        return await self._records.get(kind, namespace, name)

    async def list(self, kind: str | None = None, namespace: str | None = None) -> list[ResourceRecord]:
        """All resources, or those of a kind, or of a kind in a namespace; by name."""
        return await self._records.list(kind, namespace)

    def watch(self, synced: asyncio.Event | None = None) -> AsyncGenerator[ResourceChange, None]:
        """Every resource that stands, then every change, for as long as it is iterated. See `Records.watch`."""
        return self._records.watch(synced)

    async def put(self, record: ResourceRecord, *, expected_generation: int | None = None) -> ResourceRecord:
        """Stores the resource and answers it as stored: with hash, generation and times. A spec that does not differ
        keeps its generation, a record that does not differ is not written.

        Raises Conflict where another side manages it (naming that side), or where its generation is not the expected
        one (0: it must not exist yet); InvalidInput for a name or a spec that cannot be stored.
        """
        if record.managed_by == MANAGED_BY_UNSPECIFIED:
            raise InvalidInput("a resource needs an owner (managed_by)")
        spec = record.spec_json.encode()
        if len(spec) > CHUNK_BYTES:
            raise InvalidInput(f"the spec has {len(spec)} bytes; at most {CHUNK_BYTES} are stored")
        key = key_of(record.ref.kind, record.ref.namespace, record.ref.name)
        digest = hashlib.sha256(spec).digest()
        for _ in range(_ATTEMPTS):
            entry = await self._records.bucket.newest(key)
            current = ResourceRecord.FromString(entry.value) if entry and entry.value else None
            _admit(_told(record.ref), record.managed_by, current, expected_generation)
            stored = self._successor(record, digest, current)
            if stored == current:
                return stored
            if current is None or current.ref.sha256 != digest:
                await self._values.put(spec)
            try:
                await self._records.bucket.put(key, stored.SerializeToString(), expected=entry.revision if entry else 0)
            except Conflict:
                continue
            return stored
        raise Conflict(f"{_told(record.ref)} changes faster than it can be written")

    async def delete(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        managed_by: ManagedBy.ValueType,
        expected_generation: int | None = None,
    ) -> None:
        """Removes the resource; its specs stay readable by hash. Raises NotFound, and Conflict like `put`."""
        key = key_of(kind, namespace, name)
        told = _told(ResourceRef(kind=kind, namespace=namespace, name=name))
        for _ in range(_ATTEMPTS):
            entry = await self._records.bucket.newest(key)
            if entry is None or not entry.value:
                raise NotFound(f"there is no {told}")
            _admit(told, managed_by, ResourceRecord.FromString(entry.value), expected_generation)
            try:
                await self._records.bucket.delete(key, expected=entry.revision)
            except Conflict:
                continue
            return
        raise Conflict(f"{told} changes faster than it can be deleted")

    async def by_hash(self, ref: ResourceRef) -> str:
        """The canonical spec of that very version, also of a deleted resource. Raises NotFound where it never stood."""
        spec = self._specs.get(ref.sha256)
        if spec is None:
            spec = (await self._values.get(StoredValue(sha256=ref.sha256, size_bytes=1))).decode()
            self._specs[ref.sha256] = spec
            if len(self._specs) > _CACHED_SPECS:
                self._specs.popitem(last=False)
        else:
            self._specs.move_to_end(ref.sha256)
        return spec

    def _successor(self, record: ResourceRecord, digest: bytes, current: ResourceRecord | None) -> ResourceRecord:
        stored = ResourceRecord()
        stored.CopyFrom(record)
        stored.ref.sha256 = digest
        if current is None:
            stored.generation = 1
            stored.created_unix_nano = stored.changed_unix_nano = self._now()
            return stored
        stored.generation = current.generation + (current.ref.sha256 != digest)
        stored.created_unix_nano, stored.changed_unix_nano = current.created_unix_nano, current.changed_unix_nano
        if stored != current:
            stored.changed_unix_nano = self._now()
        return stored


def _told(ref: ResourceRef) -> str:
    """How users know it: its key is ours alone."""
    return f"{ref.kind} {ref.namespace}/{ref.name}"


def _admit(
    told: str, managed_by: ManagedBy.ValueType, current: ResourceRecord | None, expected_generation: int | None
) -> None:
    if current is not None and current.managed_by != managed_by:
        owner = OWNERS.get(current.managed_by, "another side")
        raise Conflict(f"{told} is managed by {owner}: change it there")
    generation = current.generation if current else 0
    if expected_generation is not None and expected_generation != generation:
        raise Conflict(f"{told} is at generation {generation}, not {expected_generation}: read it again")
