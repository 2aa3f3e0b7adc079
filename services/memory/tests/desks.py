"""An agent with conversations, its turns in the log, and the memory service that follows them."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.envelope_pb2 import AGGREGATE_TYPE_SESSION, Envelope
from astromesh.v1.memory_pb2 import RecallRequest, RecallResponse
from astromesh.v1.memory_pb2_grpc import MemoryServiceStub, add_MemoryServiceServicer_to_server
from astromesh.v1.run_events_pb2 import ConversationSummary, MemoryStored, RunEvent
from astromesh.v1.session_events_pb2 import SessionCleared, SessionEvent
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Message, ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import session_aggregate
from astromesh_core.events.chain import GENESIS, build_commit, seal
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.identity import MeshKey, session_key, user_key
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.telemetry.tracing import Spans
from astromesh_memory.app import open_conversations
from astromesh_memory.conversations import Conversations
from astromesh_memory.opening import Backends
from astromesh_memory.recall import Recaller
from astromesh_memory.seen import SeenAgents
from astromesh_memory.service import MemoryService
from astromesh_testing.commits import commit_of, new_run, requested
from astromesh_testing.contracts.placement import in_process
from astromesh_vectors.own_classes import OwnClasses

from .told_runs import nothing_beside

if TYPE_CHECKING:
    from astromesh.v1.memory_pb2_grpc import MemoryServiceAsyncStub

KEY = MeshKey(bytes(32))


@dataclass
class Desk:
    """One agent of the namespace `default`, and the log that its runs write."""

    bus: Bus
    name: str = "desk"
    provider: str = "ollama"

    def session(self, name: str = "one") -> str:
        return session_key(KEY, "default", self.name, name)

    async def declare(self, **memory: object) -> ResourceRef:
        """Puts the agent with this conversational memory."""
        return await self._put(memory={"conversational": memory})

    async def forget_memory(self) -> ResourceRef:
        """Puts the agent without any memory."""
        return await self._put()

    async def _put(self, **parts: object) -> ResourceRef:
        raw = {"model": {"primary": {"provider": self.provider, "model": "m"}}, **parts}
        spec = AgentSpec.model_validate_json(orjson.dumps(raw))
        ref = ResourceRef(kind="Agent", namespace="default", name=self.name)
        record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_API, spec_json=spec.to_json())
        return (await self.bus.resources.put(record)).ref

    async def turn(self, question: str, *, session: str = "one", user: str = "", at: int = 0) -> Position:
        """Stores a run that left this turn."""
        said = [(ROLE_USER, question), (ROLE_ASSISTANT, "yes")]
        turn = [Message(role=role, content=text_content(text)) for role, text in said]
        stored = MemoryStored(turn=turn, user_key=user_key(KEY, "default", user) if user else "")
        return await self._store(stored, session, at)

    async def summarise(self, text: str, through_run_id: str, *, session: str = "one") -> Position:
        """Stores a run that folded turns into a summary."""
        summary = ConversationSummary(text=text_content(text), through_run_id=through_run_id)
        return await self._store(MemoryStored(summary=summary), session, 0)

    async def clear(self, session: str = "one") -> Position:
        return await self.tell(SessionEvent(cleared=SessionCleared(agent=self.name)), session)

    async def tell(self, event: SessionEvent, session: str = "one") -> Position:
        """Stores an event of the session, its next one."""
        aggregate = session_aggregate("default", self.session(session))
        stored = await self.bus.log.read(aggregate)
        envelope = Envelope(
            event_id=secrets.token_hex(16),
            aggregate_type=AGGREGATE_TYPE_SESSION,
            aggregate_id=aggregate.id,
            time_unix_nano=time.time_ns(),
            namespace="default",
            session=event,
        )
        data, _ = seal(envelope, stored.events[-1].head() if stored.events else GENESIS)
        return await self.bus.log.append(aggregate.log, aggregate, build_commit([data]), stored.position)

    async def _store(self, stored: MemoryStored, session: str, at: int) -> Position:
        stored.session_key, stored.agent = self.session(session), self.name
        stored.session_id.CopyFrom(text_content(session))
        run = new_run()
        first, head = commit_of(run, [requested()])
        position = await self.bus.log.append(run.requested, run, first, Position.START)
        second, _ = commit_of(run, [RunEvent(memory_stored=stored)], head, time_unix_nano=at or time.time_ns())
        return await self.bus.log.append(run.log, run, second, position)


@asynccontextmanager
async def serving(
    bus: Bus, folder: Path, spans: Spans | None = None, *, own: OwnClasses | None = None
) -> AsyncGenerator[tuple[MemoryServiceAsyncStub, Conversations]]:
    """The memory service on its data folder, and the conversations behind it."""
    seen = await SeenAgents.load(folder / "agents_seen.json")
    async with (
        open_conversations(bus, seen, Backends(folder, "mesh", own).open) as (conversations, _),
        nothing_beside(bus, folder) as related,
    ):
        recaller = Recaller(bus.resources, conversations, bus.values, folder / "models", time.time_ns, spans)
        service = MemoryService(conversations, recaller, related, bus.values)

        def register(server: RpcServer) -> None:
            add_MemoryServiceServicer_to_server(service, server)

        async with in_process(register) as channel:
            yield MemoryServiceStub(channel), conversations


async def recall(
    stub: MemoryServiceAsyncStub, desk: Desk, agent: ResourceRef, after: Position | None = None, session: str = "one"
) -> RecallResponse:
    """What a run of the agent gets to see."""
    request = RecallRequest(agent=agent, session_key=desk.session(session))
    if after is not None:
        request.after_position = after.encode()
    return await stub.Recall(request, timeout=10)


def questions(response: RecallResponse) -> list[str]:
    """What the session was asked."""
    return [plain(message.content) for message in response.messages if message.role == ROLE_USER]
