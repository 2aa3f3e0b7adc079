"""Recalls a session for a run: reads it, and lets through what the agent's strategy does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from google.protobuf.message import Message as ProtoMessage

from astromesh.v1.memory_pb2 import RecallRequest, RecallResponse
from astromesh.v1.run_events_pb2 import MemoryStored, RecalledTurns
from astromesh.v1.values_pb2 import Content, Message, ResourceRef
from astromesh_core.conversations import AgentKey, Recalled, Turn
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_memory import ConversationalMemory
from astromesh_core.resources.compiled import Compiled, Specs
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.tracing import Spans, UnrecordedSpans
from astromesh_memory.conversations import Conversations
from astromesh_memory.counting import Counter, counter_of
from astromesh_memory.recalling import Remembrance, asks_for, remembrance, unfolded

_MOST_UNFOLDED = 10_000


LeftOut = Callable[[AgentKey, str, int, int], None]
"""Takes the agent, the session's key, the time of the last such turn, and the agent's ttl in seconds."""


def _ignore(agent: AgentKey, session_key: str, last_unix_nano: int, ttl: int) -> None:
    del agent, session_key, last_unix_nano, ttl


class Values(Protocol):
    """Fetches contents that were moved to the object store."""

    async def resolve_all(self, message: ProtoMessage) -> None:
        """Fetches every stored Content of the message, in place."""
        ...


class _Strategy(NamedTuple):
    """What a version of an agent declares."""

    memory: ConversationalMemory
    counter: Counter


class Recaller:
    """Answers what runs ask."""

    def __init__(
        self,
        specs: Specs,
        conversations: Conversations,
        values: Values,
        models: Path,
        clock: Callable[[], int],
        spans: Spans | None = None,
    ) -> None:
        """`models` is where models of this machine lie; `clock` gives Unix nanoseconds."""
        self._spans = spans or UnrecordedSpans()
        self._strategies = Compiled(specs, lambda ref, spec_json: _strategy(ref, spec_json, models))
        self._conversations = conversations
        self._values = values
        self._clock = clock
        self.left_out: LeftOut = _ignore
        """Hears of turns that a run is not told because a pause after them has forgotten them."""

    async def recall(self, request: RecallRequest, seconds: float) -> RecallResponse:
        """What the run gets to see. Raises Unavailable where the backend is away, or lacks something for so long."""
        strategy = await self._strategies.of(request.agent)
        if strategy is None:
            return RecallResponse()
        agent = AgentKey(request.agent.namespace, request.agent.name)
        recalled = await self._last(agent, request, strategy.memory, seconds)
        if recalled is None:
            return RecallResponse()
        found = await self._chosen(strategy, recalled)
        if found.expired_unix_nano and strategy.memory.ttl is not None:
            self.left_out(agent, request.session_key, found.expired_unix_nano, strategy.memory.ttl)
        response = RecallResponse(
            messages=_messages(found.turns),
            run_ids=[turn.run_id for turn in found.turns],
            tokens=found.tokens,
            tokens_estimated=strategy.memory.strategy == "token_budget" and not strategy.counter.exact,
        )
        if found.summary is not None:
            response.summary.CopyFrom(Content.FromString(found.summary.text))
        if found.to_fold:
            folded = RecalledTurns(messages=_messages(found.to_fold), through_run_id=found.to_fold[-1].run_id)
            response.to_fold.CopyFrom(folded)
        await self._values.resolve_all(response)
        return response

    async def _last(
        self, agent: AgentKey, request: RecallRequest, memory: ConversationalMemory, seconds: float
    ) -> Recalled | None:
        most = asks_for(memory)
        while True:
            recalled = await self._conversations.last(
                agent, request.session_key, most, after=request.after_position, memory=memory, seconds=seconds
            )
            if recalled is None or memory.strategy != "summary" or most >= _MOST_UNFOLDED:
                return recalled
            if len(recalled.turns) < most or len(unfolded(recalled.turns, recalled.summary)) < most:
                return recalled
            # Where nothing was folded for long, more has to be.
            most *= 4

    async def _chosen(self, strategy: _Strategy, recalled: Recalled) -> Remembrance:
        if strategy.memory.strategy != "token_budget":
            return remembrance(strategy.memory, recalled, self._clock(), lambda turn: 0)
        turns = {turn.place: opened(turn) for turn in recalled.turns}
        for stored in turns.values():
            await self._values.resolve_all(stored)

        counter = strategy.counter

        def choose() -> Remembrance:
            count = counter.tokens_of
            return remembrance(strategy.memory, recalled, self._clock(), lambda turn: count(turns[turn.place].turn))

        if counter.reader is None:
            return choose()
        with self._spans.span("count tokens") as span:
            chosen = await asyncio.to_thread(choose)
            span.set(gen_ai.NATIVE, counter.reader.by)
            return chosen


def opened(turn: Turn) -> MemoryStored:
    """What a turn holds; contents that were moved stay references."""
    return MemoryStored.FromString(turn.stored)


def _strategy(ref: ResourceRef, spec_json: str, models: Path) -> _Strategy | None:
    del ref
    spec = AgentSpec.from_json(spec_json)
    memory = spec.memory.conversational
    return None if memory is None else _Strategy(memory, counter_of(spec, models))


def _messages(turns: Sequence[Turn]) -> list[Message]:
    return [message for turn in turns for message in opened(turn).turn]
