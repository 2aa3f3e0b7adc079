"""One line of YAML moves an agent's history to another backend, whole, and leaves nothing behind; a backend that is
away or has lost something says so and is brought up to date by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_API
from astromesh.v1.memory_pb2 import CheckMemoryRequest, FindUserSessionsRequest, ListSessionsRequest
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.conversations import AgentKey
from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.events.identity import user_key
from astromesh_core.resources import extras
from astromesh_core.resources.connections import redis_address
from astromesh_core.resources.stores import Connection
from astromesh_memory.backends.redis import RedisConversations
from astromesh_memory.backends.sqlite import SqliteConversations
from astromesh_testing.postgres import PostgresServer
from astromesh_testing.redis import RedisServer
from astromesh_testing.waiting import until

from .desks import KEY, Desk, questions, recall, serving

if TYPE_CHECKING:
    from astromesh.v1.memory_pb2_grpc import MemoryServiceAsyncStub

REDIS: dict[str, object] = {"backend": "redis", "connection": {"url": "${TEST_REDIS}"}}
POSTGRES: dict[str, object] = {"backend": "postgres", "connection": {"url": "${TEST_POSTGRES}"}}
DESK = AgentKey("default", "desk")


async def test_history_follows_its_agent_from_sqlite_to_redis_to_postgres_and_back(
    bus: Bus, tmp_path: Path, redis_url: str, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_REDIS", redis_url)
    monkeypatch.setenv("TEST_POSTGRES", postgres)
    desk, other = Desk(bus), Desk(bus, "other")
    agent, bystander = await desk.declare(), await other.declare()
    async with serving(bus, tmp_path) as (stub, _):
        await desk.turn("zero")
        await desk.clear()
        await desk.turn("one")
        await other.turn("theirs")
        assert questions(await recall(stub, desk, agent, await desk.turn("two"))) == ["one", "two"]

        agent = await desk.declare(**REDIS)
        assert await _found(stub, desk, agent) == ["one", "two"]
        assert questions(await recall(stub, desk, agent, await desk.turn("three"))) == ["one", "two", "three"]
        await until(lambda: _left_sqlite(tmp_path))

        agent = await desk.declare(**POSTGRES)
        assert await _found(stub, desk, agent) == ["one", "two", "three"]
        await desk.clear()
        assert questions(await recall(stub, desk, agent, await desk.turn("four"))) == ["four"]

        for memory in ({}, REDIS, POSTGRES, {}):
            agent = await desk.declare(**memory)
            assert await _found(stub, desk, agent) == ["four"]
        assert questions(await recall(stub, other, bystander)) == ["theirs"]
    async with serving(bus, tmp_path) as (stub, _):
        assert questions(await recall(stub, desk, agent)) == ["four"]


async def test_an_agent_that_was_moved_while_memory_was_down_is_found_in_its_new_backend(
    bus: Bus, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_REDIS", redis_url)
    desk = Desk(bus)
    await desk.declare()
    async with serving(bus, tmp_path) as (stub, _):
        await recall(stub, desk, await desk.declare(), await desk.turn("one"))
    agent = await desk.declare(**REDIS)
    await desk.turn("two")
    async with serving(bus, tmp_path) as (stub, _):
        assert await _found(stub, desk, agent) == ["one", "two"]
        await until(lambda: _left_sqlite(tmp_path))


async def test_a_new_agent_needs_nothing_of_the_log(
    bus: Bus, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_REDIS", redis_url)
    desk = Desk(bus)
    async with serving(bus, tmp_path) as (stub, conversations):
        last = await Desk(bus, "other").turn("theirs")
        await until(lambda: _reached(conversations.position, last.encode()))
        agent = await desk.declare(**REDIS)
        assert questions(await recall(stub, desk, agent)) == []
        store = await RedisConversations.open(redis_address(Connection(url="${R}"), {"R": redis_url}), "mesh")
        assert (await store.followed())[DESK] >= last.encode()
        await store.close()


async def test_postgres_that_stops_between_runs_loses_nothing(
    bus: Bus, tmp_path: Path, own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_POSTGRES", own_postgres.fresh_database())
    desk = Desk(bus)
    agent = await desk.declare(**POSTGRES)
    async with serving(bus, tmp_path) as (stub, _):
        assert await _found(stub, desk, agent, await desk.turn("one")) == ["one"]
        own_postgres.kill()
        last = await desk.turn("two")
        with pytest.raises(Unavailable, match="PostgreSQL at postgresql://"):
            await recall(stub, desk, agent, last)
        health = (await stub.CheckMemory(CheckMemoryRequest(agent=agent), timeout=10)).stores[0]
        assert (health.connected, health.reason) == (False, "Unavailable")
        own_postgres.start()
        assert await _found(stub, desk, agent, last) == ["one", "two"]


async def test_a_backend_that_can_be_read_and_takes_nothing_is_not_connected(bus: Bus, tmp_path: Path) -> None:
    desk = Desk(bus)
    agent = await desk.declare()

    async def connected() -> bool:
        (health,) = (await stub.CheckMemory(CheckMemoryRequest(agent=agent), timeout=10)).stores
        assert health.connected or "no room" in health.message
        return health.connected

    async def refused() -> bool:
        return not await connected()

    async with serving(bus, tmp_path) as (stub, _):
        assert await _found(stub, desk, agent, await desk.turn("one")) == ["one"]
        assert await connected()
        with closing(sqlite3.connect(tmp_path / "conversations.sqlite", isolation_level=None)) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON turn BEGIN SELECT raise(ABORT, 'no room'); END")
            last = await desk.turn("two")
            await until(refused)
            other.execute("DROP TRIGGER full")
        await until(connected)
        assert await _found(stub, desk, agent, last) == ["one", "two"]


async def test_a_backend_that_is_away_holds_up_its_own_agents_alone_and_comes_back_by_itself(
    bus: Bus, tmp_path: Path, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_REDIS", own_redis.url)
    desk, other = Desk(bus), Desk(bus, "other")
    agent, bystander = await desk.declare(**REDIS), await other.declare()
    async with serving(bus, tmp_path) as (stub, _):
        assert await _found(stub, desk, agent, await desk.turn("one")) == ["one"]
        own_redis.kill()
        last = await desk.turn("two")
        with pytest.raises(Unavailable, match=r"redis at redis://127\.0\.0\.1") as raised:
            await recall(stub, desk, agent, last)
        assert own_redis.password not in str(raised.value)
        health = (await stub.CheckMemory(CheckMemoryRequest(agent=agent), timeout=10)).stores[0]
        assert (health.kind, health.backend, health.connected, health.reason) == (
            "conversational",
            "redis",
            False,
            "Unavailable",
        )
        assert own_redis.password not in str(health)
        assert questions(await recall(stub, other, bystander, await other.turn("theirs"))) == ["theirs"]
        own_redis.start()
        assert await _found(stub, desk, agent, last) == ["one", "two"]
        assert (await stub.CheckMemory(CheckMemoryRequest(agent=agent), timeout=10)).stores[0].connected


async def test_what_a_backend_has_lost_is_built_again_and_never_passed_for_nothing(
    bus: Bus, tmp_path: Path, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_REDIS", own_redis.url)
    desk = Desk(bus)
    agent = await desk.declare(**REDIS)
    async with serving(bus, tmp_path) as (stub, _):
        assert await _found(stub, desk, agent, await desk.turn("one")) == ["one"]
        own_redis.flush()
        with pytest.raises(Unavailable, match="lost"):
            await recall(stub, desk, agent)
        assert await _found(stub, desk, agent) == ["one"]
        own_redis.flush()
        last = await desk.turn("two")
        assert await _found(stub, desk, agent, last) == ["one", "two"]


async def test_a_backend_that_was_never_there_says_why(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_REDIS", raising=False)
    desk = Desk(bus)
    agent = await desk.declare(**REDIS)
    async with serving(bus, tmp_path) as (stub, _):
        with pytest.raises(AstromeshError, match="environment variable TEST_REDIS is not set"):
            await recall(stub, desk, agent)
        with pytest.raises(AstromeshError, match="TEST_REDIS"):
            await stub.ListSessions(ListSessionsRequest(namespace="default", agent="desk"), timeout=10)


async def test_a_person_is_found_with_agents_that_declare_no_memory_any_more_and_those_that_are_gone(
    bus: Bus, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_REDIS", redis_url)
    desk, gone = Desk(bus), Desk(bus, "gone")
    await desk.declare(**REDIS)
    agent = await gone.declare()
    ada = FindUserSessionsRequest(namespace="default", user_key=user_key(KEY, "default", "ada"))

    async def found() -> list[str]:
        async with asyncio.timeout(10):
            while True:
                try:
                    return [it.agent for it in (await stub.FindUserSessions(ada, timeout=10)).sessions]
                except Unavailable:
                    await asyncio.sleep(0.05)

    async with serving(bus, tmp_path) as (stub, _):
        await desk.turn("one", user="ada")
        await recall(stub, gone, agent, await gone.turn("two", user="ada"))
        assert await found() == ["desk", "gone"]
        await desk.forget_memory()
        await bus.resources.delete("Agent", "default", "gone", managed_by=MANAGED_BY_API)
        await asyncio.sleep(0.2)
        assert await found() == ["desk", "gone"]
    async with serving(bus, tmp_path) as (stub, _):
        assert await found() == ["desk", "gone"]


async def test_an_agent_is_rebuilt_from_the_log_on_demand(bus: Bus, tmp_path: Path) -> None:
    desk = Desk(bus)
    agent = await desk.declare()
    async with serving(bus, tmp_path) as (stub, conversations):
        await recall(stub, desk, agent, await desk.turn("one"))
        await conversations.rebuild(DESK, 10)
        assert questions(await recall(stub, desk, agent)) == ["one"]


async def _found(
    stub: MemoryServiceAsyncStub, desk: Desk, agent: ResourceRef, after: Position | None = None
) -> list[str]:
    """What is recalled once the backend has caught up; until then it says that it has not."""
    async with asyncio.timeout(20):
        while True:
            try:
                return questions(await recall(stub, desk, agent, after))
            except Unavailable:
                await asyncio.sleep(0.05)


async def _left_sqlite(folder: Path) -> bool:
    store = await SqliteConversations.open(folder / "conversations.sqlite")
    try:
        return DESK not in await store.followed()
    finally:
        await store.close()


async def _reached(position: bytes, upto: bytes) -> bool:
    return position >= upto


async def test_without_the_driver_conversations_are_kept_in_sqlite_and_that_is_said(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        del name

    monkeypatch.setattr(extras, "find_spec", missing)
    desk, strict = Desk(bus), Desk(bus, "strict")
    agent, refused = await desk.declare(**REDIS), await strict.declare(**REDIS, strict=True)
    async with serving(bus, tmp_path) as (stub, _):
        assert questions(await recall(stub, desk, agent, await desk.turn("one"))) == ["one"]
        health = (await stub.CheckMemory(CheckMemoryRequest(agent=agent), timeout=10)).stores[0]
        assert (health.connected, health.reason) == (True, "FallbackSQLite")
        assert health.message.endswith("pip install 'astromesh[redis]'")
        with pytest.raises(AstromeshError, match="redis is not installed"):
            await recall(stub, strict, refused)
    store = await SqliteConversations.open(tmp_path / "conversations.sqlite")
    assert DESK in await store.followed()
    await store.close()
