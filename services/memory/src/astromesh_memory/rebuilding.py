"""Makes the semantic and episodic memory of one agent again from the log. The conversations' part is not here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import ProjectedCommit, Projection
from astromesh_memory.keepers import Keepers
from astromesh_memory.runs.changes import KINDS
from astromesh_memory.runs.following import Rows, RunFollower
from astromesh_memory.runs.keeping import AgentKey
from astromesh_memory.runs.ledger import RunRow, Touched
from astromesh_memory.runs.thread import LedgerThread, open_ledger


class Rebuilt(NamedTuple):
    """How many runs each kind of memory remembers now."""

    semantic: int
    episodic: int


class Rebuilder:
    """Rebuilds agents' memory. What is remembered is found meanwhile, as it was."""

    def __init__(self, bus: Bus, ledger: LedgerThread, follower: RunFollower, rows: Rows, keepers: Keepers) -> None:
        self._bus = bus
        self._ledger = ledger
        self._follower = follower
        self._rows = rows
        self._keepers = keepers

    async def rebuild(self, namespace: str, agent: str) -> Rebuilt:
        """Reads the whole log again, drops what is remembered and puts what the log says. Asks the embedder alone.

        Raises Unavailable where a store does not answer: it is put in step as soon as it does.
        """
        rows = await self._reread(namespace, agent)
        for kind in KINDS:
            keeper = self._keepers.of(AgentKey(namespace, agent, kind))
            if keeper is not None:
                await keeper.rewrite()
        return Rebuilt(sum(row.semantic for row in rows), sum(row.episodic for row in rows))

    async def _reread(self, namespace: str, agent: str) -> list[RunRow]:
        async with open_ledger(None) as fresh:
            reading = RunFollower(fresh, self._rows, Position.START, set(), _ignore)

            async def handle(commits: list[ProjectedCommit]) -> None:
                await reading.handle(list(_of_agent(commits, namespace, agent)))

            feed = Projection(self._bus, f"memory of {agent}", handle, Position.START, verifies=False)
            async with feed:
                await feed.applied(await self._bus.log.end())
                async with self._follower.standing:
                    # From here on the ledger stands still until it holds what the log says up to there, or beyond:
                    # taking a commit a second time changes nothing.
                    await feed.applied(self._follower.applied)
                    rows = await fresh.rows(namespace, agent)
                    await self._ledger.replace(namespace, agent, rows, await fresh.open_runs())
                    await self._follower.recount()
            return rows


def _of_agent(commits: Iterable[ProjectedCommit], namespace: str, agent: str) -> Iterable[ProjectedCommit]:
    """What may concern the agent: all sessions' commits, and runs' without the starts of others, so that only its own
    are read to their ends."""
    for commit in commits:
        if commit.aggregate.namespace != namespace:
            continue
        started = (it.envelope.run.started for it in commit.events if it.envelope.run.HasField("started"))
        if all(it.agent.name == agent for it in started):
            yield commit


def _ignore(touched: Touched, position: Position) -> None:
    del touched, position
