"""Protobuf records of resources in a KV bucket, by kind, namespace and name: read, listed and watched alike."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from google.protobuf.message import DecodeError, Message

from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.shared_bucket import SharedBucket, Written
from astromesh_core.errors import InvalidInput
from astromesh_core.events.identity import check_namespace

M = TypeVar("M", bound=Message)

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Change(Generic[M]):
    """A record that was there at first, is new or changed; or is gone (`record` None)."""

    kind: str
    namespace: str
    name: str
    record: M | None


class Records(Generic[M]):
    """The records of one bucket."""

    def __init__(self, nc: BusClient, bucket: str, of: type[M]) -> None:
        self._of = of
        self.bucket = Bucket(nc, bucket)
        self._shared = SharedBucket(nc, self.bucket)

    async def get(self, kind: str, namespace: str, name: str) -> M | None:
        """The record, None where there is none. Raises InvalidInput for a name that is none, Unavailable, TimedOut."""
        entry = await self.bucket.newest(key_of(kind, namespace, name))
        return self._of.FromString(entry.value) if entry and entry.value else None

    async def list(self, kind: str | None = None, namespace: str | None = None) -> list[M]:
        """All records, or those of a kind, or of a kind in a namespace; by key."""
        pattern = f"{_kind(kind) if kind else '*'}.{check_namespace(namespace) if namespace else '*'}.>"
        entries = sorted(await self.bucket.entries(pattern))
        return [self._of.FromString(entry.value) for entry in entries]

    async def watch(self, synced: asyncio.Event | None = None) -> AsyncGenerator[Change[M], None]:
        """Every record that stands, then every change, also after the server was away; a change that another followed
        may be skipped, the newest never is. `synced` is set when what stood has been yielded. Close it (`aclosing`).
        """
        async with self._shared.watched() as writes:
            while True:
                written = await writes.get()
                change = self._change(written) if written is not None else None
                if change is not None:
                    yield change
                elif written is None and synced is not None:
                    synced.set()

    def _change(self, written: Written) -> Change[M] | None:
        try:
            record = self._of.FromString(written.value) if written.value else None
            kind, namespace, name = written.key.split(".", 2)
        except (DecodeError, ValueError) as error:
            _log.error(
                "a record cannot be read, and is left out", bucket=self.bucket.stream, key=written.key, exc_info=error
            )
            return None
        return Change(kind, namespace, name, record)


def key_of(kind: str, namespace: str, name: str) -> str:
    """The key of a record. Raises InvalidInput for a kind, namespace or name that is none."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInput(f"{name[:80]!r} is not a resource name (A-Z, a-z, 0-9, '_', '-' and '.')")
    return f"{_kind(kind)}.{check_namespace(namespace)}.{name}"


def _kind(kind: str) -> str:
    if not _KIND.fullmatch(kind):
        raise InvalidInput(f"{kind[:80]!r} is not a kind of resource")
    return kind
