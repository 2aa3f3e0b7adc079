"""The resources that candidates are made of, with every Provider followed: calls ask the bus for none of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Protocol

from astromesh.v1.control_pb2 import ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import ResourceChange
from astromesh_router.declared import Resources

PROVIDER = "Provider"


class WatchedResources(Resources, Protocol):
    """The resources of the mesh where they are stored."""

    def watch(self) -> AsyncGenerator[ResourceChange, None]:
        """Every resource that stands, then every change."""
        ...


class FollowedResources:
    """The resources of the mesh; what is known of a Provider is a moment old, all else is asked for."""

    def __init__(self, resources: WatchedResources) -> None:
        self._resources = resources
        self._providers: dict[tuple[str, str], ResourceRecord] = {}

    async def get(self, kind: str, namespace: str, name: str) -> ResourceRecord | None:
        """See Resources.get. A Provider that nobody has told of yet is asked for."""
        known = self._providers.get((namespace, name)) if kind == PROVIDER else None
        return known or await self._resources.get(kind, namespace, name)

    async def by_hash(self, ref: ResourceRef) -> str:
        """See Specs.by_hash."""
        return await self._resources.by_hash(ref)

    async def follow(self) -> None:
        """Follows the Providers until cancelled."""
        async with aclosing(self._resources.watch()) as changes:
            async for change in changes:
                if change.kind == PROVIDER:
                    self._take(change)

    def _take(self, change: ResourceChange) -> None:
        key = (change.namespace, change.name)
        if change.record is None:
            self._providers.pop(key, None)
        else:
            self._providers[key] = change.record


@asynccontextmanager
async def following(resources: WatchedResources) -> AsyncGenerator[FollowedResources]:
    """Resources that are followed within the block."""
    followed = FollowedResources(resources)
    task = asyncio.create_task(followed.follow(), name="providers of calls")
    try:
        yield followed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
