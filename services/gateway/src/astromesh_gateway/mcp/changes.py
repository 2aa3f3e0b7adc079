"""When the list of tools that a namespace's clients see is another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from astromesh_gateway.directory import Directory
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.mcp.catalogue import Listing, listing


def changes(gateway: Gateway, namespace: str) -> AsyncGenerator[None]:
    """Yields after each change from now on, several at once as one, until the gateway drains."""
    return _changes(gateway, namespace, listing(gateway.directory, namespace))


async def _changes(gateway: Gateway, namespace: str, seen: Listing) -> AsyncGenerator[None]:
    directory = gateway.directory
    draining = asyncio.create_task(gateway.draining.wait())
    try:
        while True:
            changing = asyncio.create_task(_changed(directory, namespace, seen))
            try:
                await asyncio.wait((changing, draining), return_when=asyncio.FIRST_COMPLETED)
                if not changing.done():
                    return
                seen = changing.result()
            finally:
                await _ended(changing)
            yield
    finally:
        await _ended(draining)


async def _changed(directory: Directory, namespace: str, seen: Listing) -> Listing:
    async with directory.changed:
        await directory.changed.wait_for(lambda: listing(directory, namespace) != seen)
    return listing(directory, namespace)


async def _ended(task: asyncio.Task[Listing] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.wait((task,))
