"""The reading of the log for semantic and episodic memory: from when it is first needed to the service's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Projection
from astromesh_memory.runs.following import RunFollower


class LogReading:
    """Begun by the first agent that declares such memory, or by whoever asks what is kept: nobody else pays for it."""

    def __init__(
        self, bus: Bus, follower: RunFollower, watched: Callable[[Projection], None], stack: AsyncExitStack
    ) -> None:
        """`watched` hears of the reading once it begins; leaving the stack ends it."""
        self._bus = bus
        self._follower = follower
        self._watched = watched
        self._stack = stack
        self._beginning = asyncio.Lock()
        self._begun = False

    @property
    def trouble(self) -> str:
        """Why what the log tells is not taken in at present."""
        return self._follower.trouble

    async def begin(self) -> None:
        """Reads from where the ledger stands, if nobody has begun yet."""
        async with self._beginning:
            if self._begun:
                return
            follower = self._follower
            reading = Projection(self._bus, "memory-runs", follower.handle, follower.applied, verifies=False)
            # That it is far behind, as at its first reading, is its agents' trouble and makes no process unready.
            reading.max_lag_seconds = float("inf")
            self._watched(await self._stack.enter_async_context(reading))
            self._begun = True

    async def reached(self, seconds: float) -> Position:
        """Returns the log's end as it is now, once the ledger knows all up to there.

        Raises Unavailable when that takes longer: the reading goes on, so that asking again finds it further.
        """
        await self.begin()
        end = await self._bus.log.end()
        await self._follower.reached(end, seconds)
        return end
