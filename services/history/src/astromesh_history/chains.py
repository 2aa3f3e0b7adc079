"""The aggregates that are being read: chain head and folded run of each, in memory while they change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from astromesh.v1.runs_pb2 import Run
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.chain import GENESIS, ChainHead
from astromesh_core.events.human_steps import pending
from astromesh_core.events.runs import TERMINAL, RunFolder
from astromesh_history.database import Database
from astromesh_history.writing import AggregateRow

KEPT = 5_000
"""Chains that stay in memory between two transactions. Others are read again when they go on."""


@dataclass(slots=True)
class Chain:
    """One aggregate as far as it was read."""

    number: int
    aggregate: Aggregate
    head: ChainHead
    folder: RunFolder | None
    searchable: bool
    """Its question is in the index."""

    @property
    def ended(self) -> bool:
        """Nothing comes after it."""
        return self.folder is not None and self.folder.run.status in TERMINAL

    def row(self) -> AggregateRow:
        """As it is stored."""
        namespace, aggregate_id, head = self.aggregate.namespace, self.aggregate.id, self.head
        known = (self.number, namespace, aggregate_id, self.aggregate.type, head.next_index, head.sha256)
        if self.folder is None:
            return (*known, b"", "", "", 0, 0, 0)
        run = self.folder.run
        folded = run.SerializeToString()
        asks = int(pending(run) is not None)
        return (*known, folded, run.agent, run.session_key, run.status, run.requested_unix_nano, asks)


class Chains:
    """Finds the chains of commits, and lets go of those that rest."""

    def __init__(self, database: Database, next_number: int) -> None:
        self._database = database
        self._next_number = next_number
        self._open: dict[Aggregate, Chain] = {}

    async def load(self, aggregates: Iterable[Aggregate]) -> None:
        """Brings what is stored of these aggregates into memory."""
        wanted = {aggregate for aggregate in aggregates if aggregate not in self._open}
        if not wanted:
            return
        for stored in await self._database.call(_stored, [aggregate.id for aggregate in wanted]):
            number, namespace, aggregate_id, next_index, sha256, folded = stored
            for aggregate in wanted:
                if (aggregate.namespace, aggregate.id) == (namespace, aggregate_id):
                    folder = RunFolder(Run.FromString(folded)) if aggregate.is_run else None
                    head = ChainHead(next_index, sha256)
                    self._open[aggregate] = Chain(number, aggregate, head, folder, searchable=True)

    def of(self, aggregate: Aggregate) -> Chain:
        """The chain of an aggregate that was loaded: a new one where nothing is stored of it."""
        chain = self._open.get(aggregate)
        if chain is None:
            folder = RunFolder() if aggregate.is_run else None
            chain = Chain(self._next_number, aggregate, GENESIS, folder, searchable=False)
            self._next_number += 1
            self._open[aggregate] = chain
        return chain

    def rest(self, written: Iterable[Chain]) -> None:
        """Lets go of chains that were written and do not go on, and of the oldest of too many."""
        for chain in written:
            if chain.ended or chain.folder is None:
                self._open.pop(chain.aggregate, None)
        for aggregate in list(self._open)[: max(0, len(self._open) - KEPT)]:
            del self._open[aggregate]


def _stored(connection: sqlite3.Connection, ids: Sequence[str]) -> list[tuple[int, str, str, int, bytes, bytes]]:
    return connection.execute(
        "SELECT number, namespace, id, next_index, sha256, folded FROM aggregates "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    ).fetchall()
