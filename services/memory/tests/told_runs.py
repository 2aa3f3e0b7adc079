"""Stores whole runs and what is said of them in a real log, as the runtime would, and asks memory about them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.memory_pb2 import RecallRelatedRequest, RecallRelatedResponse
from astromesh.v1.session_events_pb2 import SessionCleared, SessionErased, SessionEvent, SessionExpired, SessionFeedback
from astromesh.v1.values_pb2 import (
    ROLE_ASSISTANT,
    ROLE_USER,
    Charge,
    Failure,
    Message,
    ResourceRef,
    ToolCall,
    ToolResult,
    Usage,
)
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate, run_aggregate, session_aggregate
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.errors import NotSupported
from astromesh_core.events.chain import GENESIS
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import MeshKey, mesh_name, random_run_id, session_key, user_key
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.user_code.modules import Modules
from astromesh_memory.related import Related, open_related
from astromesh_memory.runs.keeping import AgentKey, Sink
from astromesh_memory.runs.ledger import RunRow
from astromesh_memory.sinks import Sinks
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.opening import Stores

KEY = MeshKey(bytes(range(32)))
NAMESPACE = "default"


def key_of(session: str, agent: str = "desk") -> str:
    return session_key(KEY, NAMESPACE, agent, session)


async def put_agent(bus: Bus, memory: Mapping[str, object], name: str = "desk") -> ResourceRef:
    raw = {"model": {"primary": {"provider": "ollama", "model": "m"}}, "memory": memory}
    spec = AgentSpec.model_validate_json(orjson.dumps(raw))
    ref = ResourceRef(kind="Agent", namespace=NAMESPACE, name=name)
    record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_API, spec_json=spec.to_json())
    return (await bus.resources.put(record)).ref


@dataclass
class Told:
    """A run to be stored: asked by a user of an API key in a session; a tool is called where one is named."""

    question: str
    answer: str = ""
    session: str = "s"
    user: str = ""
    principal: str = "app"
    agent: str = "desk"
    tool: str = ""
    fails: str = ""
    semantic: bool = True
    episodic: bool = True
    aggregate: Aggregate = field(init=False)

    def __post_init__(self) -> None:
        self.aggregate = run_aggregate(NAMESPACE, random_run_id(key_of(self.session, self.agent)))

    def frame(self) -> list[ev.RunEvent]:
        """What begins it."""
        requested = ev.RunRequested(
            agent=self.agent,
            session_key=key_of(self.session, self.agent),
            query=text_content(self.question),
            principal=self.principal,
            uses_memory=True,
        )
        if self.user:
            requested.user.text = self.user
        ref = ResourceRef(kind="Agent", namespace=NAMESPACE, name=self.agent)
        started = ev.RunStarted(agent=ref, semantic=self.semantic, episodic=self.episodic)
        return [ev.RunEvent(requested=requested), ev.RunEvent(started=started)]

    def begin(self, bus: Bus) -> AggregateWriter:
        """Begins it."""
        writer = _writer(bus, self.aggregate, Position.START)
        for event in self.frame():
            writer.record(event)
        return writer

    async def finish(self, writer: AggregateWriter) -> Position:
        """Ends it; answers where."""
        for event in self.rest():
            writer.record(event)
        await writer.flush()
        return writer.position

    def rest(self) -> list[ev.RunEvent]:
        """What ends it."""
        events = list[ev.RunEvent]()
        if self.tool:
            call = ToolCall(id="c", name=self.tool, arguments=text_content("{}"))
            result = ToolResult(tool_call_id="c", name=self.tool, output=text_content("ok"))
            events.append(ev.RunEvent(tool_intended=ev.ToolIntended(path="1.1", call=call)))
            events.append(ev.RunEvent(tool_succeeded=ev.ToolSucceeded(path="1.1", result=result)))
        charge = Charge(model="m", usage=Usage(input_tokens=10, output_tokens=5), cost_nanos=7)
        events.append(ev.RunEvent(model_replied=ev.ModelReplied(path="2", charge=charge)))
        if self.fails:
            failure = Failure(error_class="timed-out", message=text_content(self.fails))
            return [*events, ev.RunEvent(failed=ev.RunFailed(failure=failure))]
        turn = [
            Message(role=ROLE_USER, content=text_content(self.question)),
            Message(role=ROLE_ASSISTANT, content=text_content(self.answer)),
        ]
        stored = ev.MemoryStored(session_key=key_of(self.session, self.agent), agent=self.agent, turn=turn)
        if self.user:
            stored.user_key = user_key(KEY, NAMESPACE, self.user)
        events.append(ev.RunEvent(memory_stored=stored))
        return [*events, ev.RunEvent(completed=ev.RunCompleted(answer=text_content(self.answer)))]


async def store(bus: Bus, *runs: Told) -> Position:
    """Stores runs one after the other; answers where the last one ends."""
    position = Position.START
    for run in runs:
        writer = run.begin(bus)
        await writer.flush()
        position = await run.finish(writer)
    return position


async def in_session(bus: Bus, event: SessionEvent, session: str = "s", agent: str = "desk") -> Position:
    """Stores a session's own event; answers the position behind it."""
    aggregate = session_aggregate(NAMESPACE, key_of(session, agent))
    tail = await bus.log.tail(aggregate)
    position, head = (tail.position, tail.head) if tail else (Position.START, GENESIS)
    writer = AggregateWriter(bus.log, bus.values, aggregate, position, head, "test", time.time_ns)
    writer.record(event)
    await writer.flush()
    return writer.position


def cleared() -> SessionEvent:
    return SessionEvent(cleared=SessionCleared(agent="desk"))


def erased(user: str) -> SessionEvent:
    return SessionEvent(erased=SessionErased(agent="desk", user_key=user_key(KEY, NAMESPACE, user)))


def expired(kind: str, until_unix_nano: int) -> SessionEvent:
    return SessionEvent(expired=SessionExpired(agent="desk", until_unix_nano=until_unix_nano, kind=kind))


def feedback(run: Told, rating: int, comment: str = "") -> SessionEvent:
    said = SessionFeedback(agent=run.agent, principal="ada", run_id=run.aggregate.id, rating=rating)
    said.comment.text = comment
    return SessionEvent(feedback=said)


class WordEmbedders:
    """Hands out one fake embedder."""

    def __init__(self) -> None:
        self.embedder = WordEmbedder(256)

    async def of(self, spec: object) -> WordEmbedder:
        """The embedder, whatever is declared."""
        del spec
        return self.embedder


@dataclass
class World:
    """Memory at work."""

    bus: Bus
    related: Related
    embedder: WordEmbedder
    seconds: float = 10.0
    """How long a recall may wait."""

    async def recall(
        self,
        agent: ResourceRef,
        question: str,
        *,
        user: str = "",
        session: str = "s",
        principal: str = "app",
        after: Position = Position.START,
        known: tuple[str, ...] = (),
    ) -> RecallRelatedResponse:
        """What a run with this question would be told."""
        request = RecallRelatedRequest(
            agent=agent,
            session_key=key_of(session, agent.name),
            principal=principal,
            query=text_content(question),
            known_run_ids=known,
        )
        if user:
            request.user.text = user
        if after > Position.START:
            request.after_position = after.encode()
        await self.related.synced.wait()
        return await self.related.remembering.recall(request, self.seconds)

    async def said(self, *args: object, **kwargs: object) -> list[str]:
        """The texts that semantic memory finds."""
        found = await self.recall(*args, **kwargs)  # pyright: ignore[reportArgumentType] - handed on
        return [passage.text.text for passage in found.memories]

    async def happened(self, *args: object, **kwargs: object) -> list[str]:
        """The goals that episodic memory finds."""
        found = await self.recall(*args, **kwargs)  # pyright: ignore[reportArgumentType] - handed on
        return [episode.goal.text for episode in found.episodes]


@asynccontextmanager
async def world(bus: Bus, folder: Path, environ: Mapping[str, str] | None = None) -> AsyncGenerator[World]:
    """Semantic and episodic memory over a bus, with files in a folder."""
    modules = Modules(folder / "code")
    stores = Stores(folder, modules, environ or {})
    embedders = WordEmbedders()
    sinks = Sinks(folder, embedders, stores, mesh_name(KEY), environ or {})
    try:
        async with open_related(bus, folder, KEY, sinks.open, lambda projection: None) as related:
            async with asyncio.timeout(10):
                await related.synced.wait()
            yield World(bus, related, embedders.embedder)
    finally:
        await sinks.close()
        modules.close()


@asynccontextmanager
async def nothing_beside(bus: Bus, folder: Path) -> AsyncGenerator[Related]:
    """Memory without semantic and episodic stores."""

    async def refuse(key: AgentKey, declared: object, *, confined: bool) -> Sink:
        raise NotSupported(f"{key.agent} keeps no {key.kind} memory in this test")

    async with open_related(bus, folder, KEY, refuse, lambda projection: None) as related:
        yield related


class Dump(NamedTuple):
    """All that is kept of an agent, in a form that can be compared."""

    rows: list[RunRow]
    stores: dict[str, object]


async def dumped(world: World, agent: str = "desk") -> Dump:
    """What is kept of an agent, of all that the log holds now."""
    end = await world.bus.log.end()
    await world.related.follower.reached(end, 10)
    kept = Dump(await world.related.ledger.rows(NAMESPACE, agent), {})
    for kind in ("semantic", "episodic"):
        keeper = world.related.keepers.of(AgentKey(NAMESPACE, agent, kind))
        if keeper is not None:
            sink = await keeper.sink(end, 10)
            kept.stores[kind] = await _content(sink)
    return kept


async def _content(sink: Sink) -> object:
    from astromesh_memory.episodes.memory import EpisodicMemory
    from astromesh_memory.semantic.memory import SemanticMemory

    assert isinstance(sink, EpisodicMemory | SemanticMemory)
    versions = await sink.versions()
    kept = [it.SerializeToString(deterministic=True) for it in await sink.those(sorted(versions))]
    return dict(versions), kept


def _writer(bus: Bus, aggregate: Aggregate, position: Position) -> AggregateWriter:
    return AggregateWriter(bus.log, bus.values, aggregate, position, GENESIS, "test", time.time_ns)
