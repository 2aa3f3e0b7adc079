"""What semantic and episodic memory keep, for those who answer for it: of sessions and persons, and in which stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from astromesh.v1.memory_pb2 import ListRelatedRequest, ListRelatedResponse, MemoryStoreHealth, RememberedSession
from astromesh_core.bus.positions import Position
from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.resources.extras import POSTGRES
from astromesh_memory.declared import Declared, in_sqlite
from astromesh_memory.episodes.memory import EpisodicMemory
from astromesh_memory.keepers import Keepers
from astromesh_memory.runs.changes import KINDS, Kind
from astromesh_memory.runs.keeping import AgentKey
from astromesh_memory.runs.ledger import RunRow
from astromesh_memory.runs.thread import LedgerThread
from astromesh_memory.semantic.memory import SemanticMemory

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import ResourceRef


class Kept:
    """Looks into every agent's memory beside its conversations."""

    def __init__(self, keepers: Keepers, ledger: LedgerThread) -> None:
        self._keepers = keepers
        self._ledger = ledger

    async def sessions_of(self, namespace: str, user_key: str) -> list[RememberedSession]:
        """The sessions in which something of a person is remembered, by agent. Their callers' names are not known."""
        rows = sorted(await self._ledger.of_user(namespace, user_key), key=lambda row: (row.agent, row.session_key))
        return [_session(list(group)) for _, group in groupby(rows, key=lambda row: row.session_key)]

    async def related(self, request: ListRelatedRequest, seconds: float) -> ListRelatedResponse:
        """All that is kept of a session or a person, run by run. Raises Unavailable where a store is away."""
        namespace, user = request.namespace, request.user_key
        if request.session_key:
            rows = await self._ledger.of_session(namespace, request.session_key)
            rows = [row for row in rows if user in ("", row.user_key)]
        else:
            rows = await self._ledger.of_user(namespace, user)
        response = ListRelatedResponse()
        for agent in dict.fromkeys(row.agent for row in rows):
            runs = [row for row in rows if row.agent == agent]
            await self._add(response, namespace, agent, runs, seconds)
        return response

    async def health(self, ref: ResourceRef) -> list[MemoryStoreHealth]:
        """How the stores are that an agent declares now, asked now."""
        declared = self._keepers.declared(ref.namespace, ref.name)
        if declared is None:
            return []
        return [await self._health(ref, kind, one) for kind in KINDS if (one := declared.of(kind)) is not None]

    async def _add(
        self, response: ListRelatedResponse, namespace: str, agent: str, rows: Sequence[RunRow], seconds: float
    ) -> None:
        for kind in KINDS:
            keeper = self._keepers.of(AgentKey(namespace, agent, kind))
            if keeper is None:
                continue
            sink = await keeper.sink(Position.START, seconds)
            runs = [row.run_id for row in rows if row.has(kind)]
            if isinstance(sink, SemanticMemory):
                response.memories.extend(await sink.those(runs))
            elif isinstance(sink, EpisodicMemory):
                response.episodes.extend(await sink.those(runs))

    async def _health(self, ref: ResourceRef, kind: Kind, declared: Declared) -> MemoryStoreHealth:
        keeper = self._keepers.of(AgentKey(ref.namespace, ref.name, kind))
        health = MemoryStoreHealth(kind=kind, backend=declared.backend, connected=True, reason="Connected")
        try:
            if keeper is None:
                raise Unavailable("the store is being opened")
            await keeper.check()
        except AstromeshError as error:
            health.connected, health.message = False, error.message
            health.reason = "".join(word.capitalize() for word in error.code.split("-"))
            return health
        if declared.backend == "postgres" and in_sqlite(declared):
            health.reason = "FallbackSQLite"
            health.message = f"episodes are kept in SQLite: {POSTGRES.missing}; for postgres {POSTGRES.advice}"
        return health


def _session(rows: Iterable[RunRow]) -> RememberedSession:
    runs = list(rows)
    times = [row.time_unix_nano for row in runs]
    return RememberedSession(
        session_key=runs[0].session_key,
        agent=runs[0].agent,
        turns=len(runs),
        first_unix_nano=min(times),
        last_unix_nano=max(times),
    )
