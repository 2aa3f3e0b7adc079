"""Finds again what agents remember beside their conversations: what was said in earlier runs, and what happened."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from astromesh.v1.memory_pb2 import RecallRelatedRequest, RecallRelatedResponse
from astromesh_core.bus.positions import Position
from astromesh_core.errors import Bug, Unavailable
from astromesh_core.events.contents import plain
from astromesh_core.events.identity import MeshKey, owner_key
from astromesh_core.resources.compiled import Compiled, Specs
from astromesh_memory.declared import (
    EPISODIC_RESULTS,
    EPISODIC_THRESHOLD,
    SEMANTIC_RESULTS,
    SEMANTIC_THRESHOLD,
    Declared,
    Remembers,
    remembers,
)
from astromesh_memory.episodes.memory import EpisodicMemory
from astromesh_memory.keepers import Keepers
from astromesh_memory.runs.changes import KINDS, Kind
from astromesh_memory.runs.following import RunFollower
from astromesh_memory.runs.keeping import AgentKey
from astromesh_memory.runs.ledger import RunRow
from astromesh_memory.runs.scopes import Among, Caller, among
from astromesh_memory.runs.thread import LedgerThread
from astromesh_memory.semantic.memory import SemanticMemory, run_of, told

if TYPE_CHECKING:
    from astromesh.v1.episodes_pb2 import Episode
    from astromesh.v1.values_pb2 import Passage, ResourceRef

BUILDING_SECONDS: Final = 1.0

Memory = TypeVar("Memory", SemanticMemory, EpisodicMemory)


class Remembering:
    """Recall. What is recalled is checked against the ledger once more: a store that finds too
    much tells nobody of another's runs."""

    def __init__(
        self,
        specs: Specs,
        keepers: Keepers,
        follower: RunFollower,
        ledger: LedgerThread,
        key: MeshKey,
        end: Callable[[], Awaitable[Position]],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._versions = Compiled(specs, lambda ref, spec_json: remembers(spec_json))
        self._keepers = keepers
        self._follower = follower
        self._ledger = ledger
        self._key = key
        self._end = end
        self._clock = clock

    async def recall(self, request: RecallRelatedRequest, seconds: float) -> RecallRelatedResponse:
        """What bears on the question, among the runs that the agent's scopes open to the caller: of all that ended
        before the call, in whatever session.

        Raises Unavailable where a store does not answer, or memory does not come that far in time.
        """
        declared = await self._versions.of(request.agent)
        response = RecallRelatedResponse()
        if not self._is_kept(request.agent, declared):
            return response
        after = Position.decode(request.after_position) if request.after_position else Position.START
        position = max(after, await self._end())
        await self._follower.reached(position, seconds)
        caller = self._caller(request)
        if declared.semantic is not None:
            seen = among(declared.semantic.scope, caller)
            memory = await self._memory(request.agent, SemanticMemory, position, seconds, seen)
            if memory is not None:
                response.memories.extend(await self._said(memory, declared.semantic, request, seen))
        if declared.episodic is not None:
            seen = among(declared.episodic.scope, caller)
            memory = await self._memory(request.agent, EpisodicMemory, position, seconds, seen)
            if memory is not None:
                response.episodes.extend(await self._happened(memory, declared.episodic, request, seen))
        return response

    def _is_kept(self, agent: ResourceRef, declared: Remembers) -> bool:
        """Whether the agent declares now any of what this version of it declares.

        Raises Unavailable for one that nobody has told of yet.
        """
        now = self._keepers.declared(agent.namespace, agent.name)
        kinds: list[Kind] = [kind for kind in KINDS if declared.of(kind) is not None]
        if kinds and now is None:
            raise Unavailable(f"the memory of agent {agent.name!r} is being opened", retry_after=BUILDING_SECONDS)
        return now is not None and any(now.of(kind) is not None for kind in kinds)

    def _caller(self, request: RecallRelatedRequest) -> Caller:
        user, agent = plain(request.user), request.agent
        owner = owner_key(self._key, agent.namespace, agent.name, request.principal, user) if user else ""
        return Caller(request.session_key, owner)

    async def _memory(
        self, agent: ResourceRef, of: type[Memory], position: Position, seconds: float, seen: Among
    ) -> Memory | None:
        """The agent's memory once it holds these runs up to the position; None where there are none, which costs no
        question to a store or a model, or where the agent no longer declares one."""
        kind: Kind = "semantic" if of is SemanticMemory else "episodic"
        keeper = self._keepers.of(AgentKey(agent.namespace, agent.name, kind))
        if keeper is None:
            return None
        if not await self._ledger.any(agent.namespace, agent.name, kind, seen):
            return None
        sink = await keeper.sink(position, seconds, seen)
        if not isinstance(sink, of):
            raise Bug(f"the {kind} memory of agent {agent.name!r} is a {type(sink).__name__}")
        return sink

    async def _said(
        self,
        memory: SemanticMemory,
        declared: Declared,
        request: RecallRelatedRequest,
        seen: Among,
    ) -> list[Passage]:
        found = await memory.recall(
            plain(request.query),
            seen,
            declared.max_results or SEMANTIC_RESULTS,
            _threshold(declared, SEMANTIC_THRESHOLD),
            since_seconds=self._since(declared) // 1_000_000_000,
            known=frozenset(request.known_run_ids),
        )
        rows = await self._ledger.those([run_of(passage) for passage in found])
        return [told(one) for one in found if _may_tell(rows.get(run_of(one)), request.agent, "semantic", seen)]

    async def _happened(
        self,
        memory: EpisodicMemory,
        declared: Declared,
        request: RecallRelatedRequest,
        seen: Among,
    ) -> list[Episode]:
        limit, threshold = declared.max_results or EPISODIC_RESULTS, _threshold(declared, EPISODIC_THRESHOLD)
        found = await memory.recall(plain(request.query), seen, limit, threshold, self._since(declared))
        rows = await self._ledger.those([episode.run_id for episode in found])
        return [one for one in found if _may_tell(rows.get(one.run_id), request.agent, "episodic", seen)]

    def _since(self, declared: Declared) -> int:
        return self._clock() - declared.ttl * 1_000_000_000 if declared.ttl else 0


def _threshold(declared: Declared, default: float) -> float:
    return default if declared.similarity_threshold is None else declared.similarity_threshold


def _may_tell(row: RunRow | None, agent: ResourceRef, kind: Kind, seen: Among) -> bool:
    """Whether the run is still remembered, by this agent, and among those that the caller may be told of."""
    return (
        row is not None
        and (row.namespace, row.agent) == (agent.namespace, agent.name)
        and row.has(kind)
        and seen.admits(row)
    )
