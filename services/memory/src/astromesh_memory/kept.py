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
from astromesh_memory.runs.keeping import AgentKey, Sink
from astromesh_memory.runs.ledger import RunRow
from astromesh_memory.runs.log_reading import LogReading
from astromesh_memory.runs.thread import LedgerThread
from astromesh_memory.semantic.memory import SemanticMemory, told

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import ResourceRef


class Kept:
    """Looks into every agent's memory beside its conversations."""

    def __init__(self, keepers: Keepers, ledger: LedgerThread, reading: LogReading) -> None:
        self._keepers = keepers
        self._ledger = ledger
        self._reading = reading

    async def sessions_of(self, namespace: str, user_key: str, seconds: float) -> list[RememberedSession]:
        """The sessions in which something of a person is remembered, by agent. Their callers' names are not known.

        Those of an agent that declares no such memory any more are among them: declared again, it would remember.

        Raises Unavailable where memory is that far behind the log.
        """
        rows, _ = await self._rows(namespace, "", user_key, seconds)
        rows.sort(key=lambda row: (row.agent, row.session_key))
        return [_session(list(group)) for _, group in groupby(rows, key=lambda row: row.session_key)]

    async def related(self, request: ListRelatedRequest, seconds: float) -> ListRelatedResponse:
        """All that is kept of a session or a person, run by run. Raises Unavailable where a store is away."""
        namespace = request.namespace
        rows, end = await self._rows(namespace, request.session_key, request.user_key, seconds)
        response = ListRelatedResponse()
        for agent in dict.fromkeys(row.agent for row in rows):
            runs = [row for row in rows if row.agent == agent]
            for kind in KINDS:
                keeper = self._keepers.of(AgentKey(namespace, agent, kind))
                if keeper is not None:
                    sink = await keeper.sink(end, seconds)
                    await _add(response, sink, [row.run_id for row in runs if row.has(kind)])
        return response

    async def health(self, ref: ResourceRef) -> list[MemoryStoreHealth]:
        """How the stores are that an agent declares now, asked now."""
        declared = self._keepers.declared(ref.namespace, ref.name)
        if declared is None:
            return []
        return [await self._health(ref, kind, one) for kind in KINDS if (one := declared.of(kind)) is not None]

    async def _rows(
        self, namespace: str, session_key: str, user_key: str, seconds: float
    ) -> tuple[list[RunRow], Position]:
        """Of a session or a person, or of both, and up to where in the log.

        Also where no agent declares such memory at present: one that does later would remember what the log holds.
        """
        end = await self._reading.reached(seconds)
        if session_key:
            rows = await self._ledger.of_session(namespace, session_key)
        else:
            rows = await self._ledger.of_user(namespace, user_key)
        return [row for row in rows if user_key in ("", row.user_key)], end

    async def _health(self, ref: ResourceRef, kind: Kind, declared: Declared) -> MemoryStoreHealth:
        keeper = self._keepers.of(AgentKey(ref.namespace, ref.name, kind))
        health = MemoryStoreHealth(kind=kind, backend=declared.backend, connected=True, reason="Connected")
        try:
            if keeper is None:
                raise Unavailable("the store is being opened")
            await keeper.check()
            if self._reading.trouble:
                raise Unavailable(self._reading.trouble)
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


async def _add(response: ListRelatedResponse, sink: Sink, runs: Sequence[str]) -> None:
    if isinstance(sink, SemanticMemory):
        response.memories.extend(map(told, await sink.those(runs)))
    elif isinstance(sink, EpisodicMemory):
        response.episodes.extend(await sink.those(runs))
