"""A memory process that kills itself while it applies: `crashing_memory.py URL CREDENTIALS FOLDER BACKEND POINT COUNT`.

POINT is `before` or `after` the COUNT-th call that applies changes. It is fed in small batches.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from astromesh_core.bus import projection
from astromesh_core.bus.connection import open_bus
from astromesh_core.bus.credentials import load_credentials
from astromesh_core.bus.permissions import MESH
from astromesh_core.conversations import Advance, AgentKey, Change, ConversationStore
from astromesh_memory.app import open_conversations
from astromesh_memory.opening import Backends
from astromesh_memory.placing import Target
from astromesh_memory.seen import SeenAgents


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Crashing(Backends):
    """Backends that die with their process at one of their calls."""

    def __init__(self, folder: Path, backend: str, point: str, count: int) -> None:
        super().__init__(folder, "mesh")
        self.backend, self.point, self.left = backend, point, count

    async def open(self, target: Target) -> ConversationStore:
        store = await super().open(target)
        if target.backend == self.backend:
            self.crash(store)
        return store

    def crash(self, store: ConversationStore) -> None:
        apply = store.apply

        async def crashing(changes: Sequence[Change], advances: Sequence[Advance]) -> Collection[AgentKey]:
            self.left -= bool(changes)
            if self.left == 0 and self.point == "before":
                die()
            lacking = await apply(changes, advances)
            if self.left == 0 and self.point == "after":
                die()
            return lacking

        store.apply = crashing  # pyright: ignore[reportAttributeAccessIssue] - its calls are counted


async def serve(url: str, credentials: Path, folder: Path, backends: Backends) -> None:
    seen = await SeenAgents.load(folder / "agents_seen.json")
    async with (
        open_bus(url, service=MESH, credentials=load_credentials(credentials), name="crashing") as bus,
        open_conversations(bus, seen, backends.open),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    projection._LARGEST_BATCH = 8  # pyright: ignore[reportPrivateUsage] - many calls instead of one
    _, url, credentials, place, backend, point, count = sys.argv
    crashing = Crashing(Path(place), backend, point, int(count))
    asyncio.run(serve(url, Path(credentials), Path(place), crashing))
