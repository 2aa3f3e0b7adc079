"""Keeps the conversations in step with the log, and lets readers wait until they are far enough."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from astromesh_core.bus.positions import Position
from astromesh_core.errors import Unavailable
from astromesh_memory.changes import Commit, changes_of
from astromesh_memory.conversations import Conversations
from astromesh_memory.database import Database

SAVE_EVERY: Final = 1_000
"""Commits without a change after which the position is saved all the same: that many are read again at most."""


class Projector:
    """Applies commits in the order of the log. One at a time: the feed waits for `handle`."""

    def __init__(self, database: Database, position: Position) -> None:
        self._database = database
        self._applied = position
        self._unsaved = 0
        self._waiting: dict[asyncio.Future[None], Position] = {}

    @property
    def applied(self) -> Position:
        """How far the log is applied."""
        return self._applied

    async def handle(self, commits: Sequence[Commit]) -> None:
        """Applies a batch; returns when it is stored, with its position in the same transaction."""
        if not commits:
            return
        position = commits[-1].position
        changes = list(changes_of(commits))
        self._unsaved += len(commits)
        if changes or self._unsaved >= SAVE_EVERY:
            await self._database.run(partial(Conversations.apply, changes=changes, position=position))
            self._unsaved = 0
        self._applied = max(self._applied, position)
        self._wake()

    async def save(self) -> None:
        """Stores how far the log is applied, which `handle` puts off while nothing changes."""
        if self._unsaved:
            await self._database.run(partial(Conversations.apply, changes=(), position=self._applied))
            self._unsaved = 0

    async def reached(self, position: Position, seconds: float) -> None:
        """Returns once the log is applied up to `position`. Raises Unavailable when that takes longer."""
        if position <= self._applied:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = position
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            raise Unavailable("memory has not caught up with the session's last run yet", retry_after=1.0) from None
        finally:
            del self._waiting[waiter]

    def _wake(self) -> None:
        for waiter, position in self._waiting.items():
            if position <= self._applied and not waiter.done():
                waiter.set_result(None)
