"""Protobuf records of resources in a KV bucket, by kind, namespace and name: read, listed and watched alike."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.feed import Delivered, Feed, OrderedFeed
from astromesh_core.errors import InvalidInput
from astromesh_core.events.identity import check_namespace

M = TypeVar("M", bound=Message)

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


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
        self._nc = nc
        self._of = of
        self.bucket = Bucket(nc, bucket)

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
        changes: asyncio.Queue[Change[M] | None] = asyncio.Queue()

        def deliver(message: Delivered) -> None:
            kind, namespace, name = self.bucket.key(message.subject).split(".", 2)
            record = self._of.FromString(message.data) if message.data else None
            changes.put_nowait(Change(kind, namespace, name, record))

        feed = Feed(self.bucket.stream, [self.bucket.subject(">")], newest_only=True)
        async with OrderedFeed(self._nc, feed, deliver, lambda: changes.put_nowait(None)):
            while True:
                change = await changes.get()
                if change is not None:
                    yield change
                elif synced is not None:
                    synced.set()


def key_of(kind: str, namespace: str, name: str) -> str:
    """The key of a record. Raises InvalidInput for a kind, namespace or name that is none."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInput(f"{name[:80]!r} is not a resource name (A-Z, a-z, 0-9, '_', '-' and '.')")
    return f"{_kind(kind)}.{check_namespace(namespace)}.{name}"


def _kind(kind: str) -> str:
    if not _KIND.fullmatch(kind):
        raise InvalidInput(f"{kind[:80]!r} is not a kind of resource")
    return kind
