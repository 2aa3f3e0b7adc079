"""Brings agents who are behind up to date in their backend: finds where each stands, and reads the log from there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from astromesh_core.bus.positions import Position
from astromesh_core.conversations import Advance, AgentKey
from astromesh_core.telemetry.logs import logger
from astromesh_memory.changes import Commit, changes_of
from astromesh_memory.lane import Lane
from astromesh_memory.seen import SeenAgents

_log = logger(__name__)

Handle = Callable[[Sequence[Commit]], Awaitable[None]]


class Log(Protocol):
    """The log, as it is read again."""

    async def end(self) -> Position:
        """The last position that is there now."""
        ...

    def feed(self, name: str, handle: Handle, after: bytes) -> AbstractAsyncContextManager[object]:
        """Feeds the handler from a position on within the block."""
        ...


class Joining:
    """Works for one lane until it is cancelled."""

    def __init__(
        self,
        lane: Lane,
        log: Log,
        seen: SeenAgents,
        seen_upto: Callable[[bytes], Awaitable[None]],
        joined: Callable[[AgentKey], None],
    ) -> None:
        """`seen_upto` returns once `seen` knows the log up to a position; `joined` hears of each who has caught up."""
        self._lane = lane
        self._log = log
        self._seen = seen
        self._seen_upto = seen_upto
        self._joined = joined

    async def run(self) -> None:
        """Brings up to date whoever is behind, and waits for the next."""
        while True:
            await self._lane.lagging.wait()
            positions = await self._positions()
            self._join(positions)
            behind = {agent: position for agent, position in positions.items() if agent in self._lane.behind}
            if behind:
                await _CatchUp(self._lane, self._log, behind, self._join).run()

    def _join(self, positions: Mapping[AgentKey, bytes]) -> None:
        for agent, position in positions.items():
            if agent in self._lane.behind and self._lane.join(agent, position):
                self._joined(agent)

    async def _positions(self) -> dict[AgentKey, bytes]:
        """Where everyone who is behind stands; who was not followed is from here on."""
        lane = self._lane
        followed = await lane.patiently(lane.store.followed)
        end = (await lane.patiently(self._log.end)).encode()
        positions = dict[AgentKey, bytes]()
        for agent in list(lane.behind):
            position = followed.get(agent)
            if position is not None and position > end:
                _log.warning("conversations belong to another log", backend=lane.name, agent="/".join(agent))
                await lane.patiently(lambda agent=agent: lane.store.drop(agent))
                position = None
            if position is None:
                position = await self._beginning(agent)
                await lane.patiently(lambda agent=agent, position=position: lane.store.follow(agent, position))
            positions[agent] = position
        return positions

    async def _beginning(self, agent: AgentKey) -> bytes:
        upto = self._lane.taken
        await self._seen_upto(upto)
        since = self._seen.since(agent)
        return upto if since is None else min(since, upto)


class _CatchUp:
    """One reading of the log for some agents, until the last of them has joined."""

    def __init__(
        self,
        lane: Lane,
        log: Log,
        positions: dict[AgentKey, bytes],
        join: Callable[[Mapping[AgentKey, bytes]], None],
    ) -> None:
        self._lane = lane
        self._log = log
        self._positions = positions
        self._join = join
        self._done = asyncio.Event()

    async def run(self) -> None:
        start = min(self._positions.values())
        _log.info("conversations catch up", backend=self._lane.name, agents=len(self._positions))
        async with self._log.feed(f"memory catches up in {self._lane.name}", self._handle, start):
            await self._done.wait()

    async def _handle(self, commits: Sequence[Commit]) -> None:
        lane, upto = self._lane, commits[-1].position.encode()
        agents = [agent for agent in self._positions if agent in lane.behind]
        changes = [change for change in changes_of(commits) if (change.namespace, change.agent) in agents]
        moving = [agent for agent in agents if self._positions[agent] < upto]
        touched = {AgentKey(change.namespace, change.agent) for change in changes}
        near = upto >= lane.taken
        advances = [Advance(agent, self._positions[agent], upto) for agent in moving if near or agent in touched]
        if advances:
            lacking = await lane.patiently(lambda: lane.store.apply(changes, advances))
            for advance in advances:
                if advance.agent not in lacking:
                    self._positions[advance.agent] = upto
            for agent in lacking:
                # Somebody dropped it meanwhile: it begins anew.
                self._positions.pop(agent, None)
        if near:
            self._join(self._positions)
        if not any(agent in lane.behind for agent in self._positions):
            self._done.set()
