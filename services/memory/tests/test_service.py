"""Memory from the log to the answer, on a real server: recall, history, clearing, rebuilding."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_API, ResourceRecord
from astromesh.v1.envelope_pb2 import AGGREGATE_TYPE_SESSION, Envelope
from astromesh.v1.memory_pb2 import ListHistoryRequest, RecallRequest
from astromesh.v1.memory_pb2_grpc import MemoryServiceStub, add_MemoryServiceServicer_to_server
from astromesh.v1.run_events_pb2 import MemoryStored, RunEvent
from astromesh.v1.session_events_pb2 import SessionCleared, SessionEvent
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Content, Message, ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import session_aggregate
from astromesh_core.conversations import AgentKey
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.events.chain import GENESIS, build_commit, seal
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.identity import MeshKey, session_key
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.rpc.ports import RpcServer
from astromesh_memory.app import open_conversations
from astromesh_memory.backends.sqlite import SqliteConversations
from astromesh_memory.opening import Backends
from astromesh_memory.recall import Recaller
from astromesh_memory.seen import SeenAgents
from astromesh_memory.service import MemoryService
from astromesh_testing.commits import commit_of, new_run, requested
from astromesh_testing.contracts.placement import Placement

from .told_runs import nothing_beside

if TYPE_CHECKING:
    from astromesh.v1.memory_pb2_grpc import MemoryServiceAsyncStub

SESSION = session_key(MeshKey(bytes(32)), "default", "desk", "one")


async def put_agent(bus: Bus, memory: dict[str, object] | None) -> ResourceRef:
    raw = {"model": {"primary": {"provider": "ollama", "model": "m"}}}
    spec = AgentSpec.model_validate_json(orjson.dumps(raw | ({"memory": memory} if memory else {})))
    ref = ResourceRef(kind="Agent", namespace="default", name="desk")
    record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_API, spec_json=spec.to_json())
    return (await bus.resources.put(record)).ref


async def turn(bus: Bus, question: Content | str, answer: str = "yes") -> Position:
    content = text_content(question) if isinstance(question, str) else question
    messages = [Message(role=ROLE_USER, content=content), Message(role=ROLE_ASSISTANT, content=text_content(answer))]
    stored = RunEvent(memory_stored=MemoryStored(session_key=SESSION, agent="desk", turn=messages))
    run = new_run()
    first, head = commit_of(run, [requested()])
    position = await bus.log.append(run.requested, run, first, Position.START)
    second, _ = commit_of(run, [stored], head)
    return await bus.log.append(run.log, run, second, position)


async def clear(bus: Bus) -> Position:
    session = session_aggregate("default", SESSION)
    envelope = Envelope(
        event_id=secrets.token_hex(16),
        aggregate_type=AGGREGATE_TYPE_SESSION,
        aggregate_id=session.id,
        namespace="default",
        session=SessionEvent(cleared=SessionCleared(agent="desk")),
    )
    data, _ = seal(envelope, GENESIS)
    return await bus.log.append(session.log, session, build_commit([data]), Position.START)


@asynccontextmanager
async def memory(bus: Bus, folder: Path, placement: Placement) -> AsyncGenerator[MemoryServiceAsyncStub]:
    seen = await SeenAgents.load(folder / "agents_seen.json")
    async with (
        open_conversations(bus, seen, Backends(folder, "mesh").open) as (conversations, _),
        nothing_beside(bus, folder) as related,
    ):
        recaller = Recaller(bus.resources, conversations, bus.values, folder / "models", time.time_ns)
        service = MemoryService(conversations, recaller, related, bus.values)

        def register(server: RpcServer) -> None:
            add_MemoryServiceServicer_to_server(service, server)

        async with placement(register) as channel:
            yield MemoryServiceStub(channel)


async def recalled(stub: MemoryServiceAsyncStub, agent: ResourceRef, after: Position) -> list[str]:
    request = RecallRequest(agent=agent, session_key=SESSION, after_position=after.encode())
    return [plain(message.content) for message in (await stub.Recall(request, timeout=10)).messages]


async def test_the_window_lets_the_last_turns_through(bus: Bus, tmp_path: Path, placement: Placement) -> None:
    agent = await put_agent(bus, {"conversational": {"window_size": 2}})
    forgetful = await put_agent(bus, None)
    async with memory(bus, tmp_path, placement) as stub:
        for question in ("one", "two", "three"):
            last = await turn(bus, question)
        assert await recalled(stub, agent, last) == ["two", "yes", "three", "yes"]
        assert await recalled(stub, forgetful, last) == []


async def test_a_clear_forgets_and_later_turns_are_remembered(bus: Bus, tmp_path: Path, placement: Placement) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    async with memory(bus, tmp_path, placement) as stub:
        await turn(bus, "one")
        assert await recalled(stub, agent, await clear(bus)) == []
        assert await recalled(stub, agent, await turn(bus, "two")) == ["two", "yes"]


async def test_contents_in_the_object_store_are_fetched_when_read(
    bus: Bus, tmp_path: Path, placement: Placement
) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    moved = await bus.values.put(text_content("long" * 1000).SerializeToString())
    async with memory(bus, tmp_path, placement) as stub:
        assert await recalled(stub, agent, await turn(bus, Content(stored=moved))) == ["long" * 1000, "yes"]
        request = ListHistoryRequest(namespace="default", agent="desk", session_key=SESSION)
        history = await stub.ListHistory(request, timeout=10)
        assert plain(history.entries[0].message.content) == "long" * 1000
    assert b"longlong" not in (tmp_path / "conversations.sqlite").read_bytes()


async def test_a_recall_that_cannot_be_served_in_time_says_so(bus: Bus, tmp_path: Path, placement: Placement) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    async with memory(bus, tmp_path, placement) as stub:
        far = Position((await turn(bus, "one")).sequence + 1)
        request = RecallRequest(agent=agent, session_key=SESSION, after_position=far.encode())
        with pytest.raises(Unavailable, match="caught up"):
            await stub.Recall(request, timeout=0.5)


async def test_a_waiting_recall_does_not_hold_up_another(bus: Bus, tmp_path: Path, placement: Placement) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    async with memory(bus, tmp_path, placement) as stub:
        here = await turn(bus, "one")
        waiting = asyncio.create_task(recalled(stub, agent, Position(here.sequence + 2)))
        assert await recalled(stub, agent, here) == ["one", "yes"]
        assert not waiting.done()
        await turn(bus, "two")
        assert await waiting == ["one", "yes", "two", "yes"]


async def test_history_comes_in_pages(bus: Bus, tmp_path: Path, placement: Placement) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    async with memory(bus, tmp_path, placement) as stub:
        for question in ("one", "two", "three"):
            last = await turn(bus, question)
        await recalled(stub, agent, last)
        request = ListHistoryRequest(namespace="default", agent="desk", session_key=SESSION, page_size=2)
        first = await stub.ListHistory(request, timeout=10)
        assert [plain(entry.message.content) for entry in first.entries] == ["one", "yes", "two", "yes"]
        assert first.entries[0].run_id == first.entries[1].run_id
        request.page_token = first.next_page_token
        second = await stub.ListHistory(request, timeout=10)
        assert [plain(entry.message.content) for entry in second.entries] == ["three", "yes"]
        assert second.next_page_token == ""
        request.page_token = "rubbish"
        with pytest.raises(InvalidInput, match="page_token"):
            await stub.ListHistory(request, timeout=10)


async def test_a_dropped_database_is_built_again_and_revives_nothing(
    bus: Bus, tmp_path: Path, placement: Placement
) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    await turn(bus, "one")
    await clear(bus)
    last = await turn(bus, "two")
    async with memory(bus, tmp_path, placement) as stub:
        assert await recalled(stub, agent, last) == ["two", "yes"]
    (tmp_path / "conversations.sqlite").unlink()
    async with memory(bus, tmp_path, placement) as stub:
        assert await recalled(stub, agent, last) == ["two", "yes"]


async def test_it_goes_on_where_it_stopped(bus: Bus, tmp_path: Path, placement: Placement) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    async with memory(bus, tmp_path, placement) as stub:
        await recalled(stub, agent, await turn(bus, "one"))
    last = await turn(bus, "two")
    async with memory(bus, tmp_path, placement) as stub:
        assert await recalled(stub, agent, last) == ["one", "yes", "two", "yes"]


async def test_a_database_of_another_log_is_built_again(bus: Bus, tmp_path: Path, placement: Placement) -> None:
    agent = await put_agent(bus, {"conversational": {}})
    other = await SqliteConversations.open(tmp_path / "conversations.sqlite")
    await other.follow(AgentKey("default", "desk"), Position(10_000).encode())
    await other.close()
    seen = await SeenAgents.load(tmp_path / "agents_seen.json")
    seen.see((), Position(10_000).encode())
    await seen.save()
    last = await turn(bus, "one")
    async with memory(bus, tmp_path, placement) as stub:
        assert await recalled(stub, agent, last) == ["one", "yes"]
