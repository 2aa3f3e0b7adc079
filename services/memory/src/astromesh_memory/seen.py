"""Which agents have said anything so far, and since when: so that one who is new is followed without reading the log.

A small file beside the conversations. Lost, it is made again by reading the log.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from astromesh_core.conversations import START, AgentKey, Change

_VERSION: Final = 1


class SeenAgents:
    """Up to `position` of the log, every agent of whom there is a change stands here with the position before it."""

    def __init__(self, path: Path, position: bytes, agents: dict[AgentKey, bytes]) -> None:
        """`load` makes one."""
        self._path = path
        self.position = position
        self._agents = agents
        self._writing = asyncio.Lock()

    @classmethod
    async def load(cls, path: Path) -> SeenAgents:
        """Reads the file; what is not there, or no such file, is as one that has seen nothing."""
        return await asyncio.to_thread(cls._load, path)

    def since(self, agent: AgentKey) -> bytes | None:
        """A position before the agent's first change; None where there is none up to `position`."""
        return self._agents.get(agent)

    @property
    def agents(self) -> Collection[AgentKey]:
        """Everyone who has said anything."""
        return self._agents.keys()

    def see(self, changes: Iterable[Change], upto: bytes) -> list[AgentKey]:
        """Takes the log's next part. Tells who is new in it."""
        new = list[AgentKey]()
        for change in changes:
            agent = AgentKey(change.namespace, change.agent)
            if agent not in self._agents:
                self._agents[agent] = self.position
                new.append(agent)
        self.position = max(self.position, upto)
        return new

    def reset(self) -> None:
        """Forgets everything: it was of another log."""
        self.position = START
        self._agents.clear()

    async def save(self) -> None:
        """Stores what is seen so far."""
        agents = {"/".join(key): position.hex() for key, position in self._agents.items()}
        text = json.dumps({"version": _VERSION, "position": self.position.hex(), "agents": agents})
        async with self._writing:
            await asyncio.to_thread(_replace, self._path, text)

    @classmethod
    def _load(cls, path: Path) -> SeenAgents:
        try:
            found = json.loads(path.read_text())
            if found["version"] == _VERSION:
                agents = {_agent(name): bytes.fromhex(position) for name, position in found["agents"].items()}
                return cls(path, bytes.fromhex(found["position"]), agents)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return cls(path, START, {})


def _agent(name: str) -> AgentKey:
    namespace, _, agent = name.partition("/")
    return AgentKey(namespace, agent)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    os.replace(beside, path)
