"""A rebuild gives back what the log says, and nothing that was forgotten; stores that were away are put in step."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.errors import Unavailable
from astromesh_memory.runs.keeping import AgentKey
from astromesh_testing.waiting import until

from .told_runs import (
    NAMESPACE,
    Told,
    World,
    cleared,
    dumped,
    erased,
    expired,
    feedback,
    in_session,
    put_agent,
    store,
    world,
)

if TYPE_CHECKING:
    from astromesh_testing.postgres import PostgresServer

SQLITE = {"semantic": {"backend": "faiss"}, "episodic": {"backend": "sqlite"}}
EPISODES = AgentKey(NAMESPACE, "desk", "episodic")
TURNS = AgentKey(NAMESPACE, "desk", "semantic")


async def tell(bus: Bus) -> Position:
    """A history with something of everything: what is forgotten, what failed, what was rated, another agent's."""
    gone = [Told(f"forget {number}", "gone", session="gone", user="ada") for number in range(3)]
    kept = [Told(f"keep {number}", "kept", session=f"s{number}", user="ada", tool="look") for number in range(4)]
    bobs = Told("the secret of bob", "told", session="s0", user="bob")
    broken = Told("broken", session="s1", user="ada", fails="it broke")
    others = Told("of another agent", "yes", agent="other", user="ada")
    await store(bus, *gone, *kept, bobs, broken, others)
    await in_session(bus, feedback(kept[1], -1, "wrong"), "s1")
    await in_session(bus, cleared(), "gone")
    await in_session(bus, expired("episodic", 2**62), "s2")
    await store(bus, Told("keep after the clear", "kept", session="gone", user="ada"))
    return await in_session(bus, erased("bob"), "s0")


async def asked(memory: World, agent: ResourceRef, question: str, after: Position) -> list[str]:
    """What is recalled; nothing while a store is away."""
    try:
        return await memory.happened(agent, question, user="ada", after=after)
    except Unavailable:
        return []


async def test_a_rebuild_gives_the_same_back(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, SQLITE)
    await put_agent(bus, SQLITE, "other")
    after = await tell(bus)
    async with world(bus, tmp_path) as memory:
        await memory.recall(agent, "keep", user="ada", after=after)
        before, others = await dumped(memory), await dumped(memory, "other")
        assert len(before.rows) == 6
        for _ in range(2):
            rebuilt = await memory.related.rebuilder.rebuild(NAMESPACE, "desk")
            assert (rebuilt.semantic, rebuilt.episodic) == (5, 5)
            assert await dumped(memory) == before
            assert await dumped(memory, "other") == others
        assert await memory.said(agent, "the secret of bob", user="bob") == []
        assert all("forget" not in text for text in await memory.said(agent, "forget 1", user="ada"))


async def test_a_rebuild_mends_what_was_lost_and_what_was_put_in_by_others(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, SQLITE)
    after = await tell(bus)
    async with world(bus, tmp_path) as memory:
        await memory.recall(agent, "keep", user="ada", after=after)
        before = await dumped(memory)
        for key in (EPISODES, TURNS):
            keeper = memory.related.keepers.of(key)
            assert keeper is not None
            sink = await keeper.sink(Position.START, 5)
            await sink.remove(sorted(await sink.versions())[:2])
        await memory.related.ledger.replace(NAMESPACE, "desk", before.rows[1:], [])
        assert await dumped(memory) != before
        await memory.related.rebuilder.rebuild(NAMESPACE, "desk")
        assert await dumped(memory) == before


async def test_runs_that_end_during_a_rebuild_are_not_lost(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, SQLITE)
    await tell(bus)
    runs = [Told(f"meanwhile {number}", "yes", user="ada") for number in range(10)]
    async with world(bus, tmp_path) as memory:
        rebuilding = [asyncio.create_task(memory.related.rebuilder.rebuild(NAMESPACE, "desk")) for _ in range(3)]
        after = await store(bus, *runs)
        await asyncio.gather(*rebuilding)
        await memory.recall(agent, "meanwhile", user="ada", after=after)
        live = await dumped(memory)
        assert {run.aggregate.id for run in runs} <= {row.run_id for row in live.rows}
        await memory.related.rebuilder.rebuild(NAMESPACE, "desk")
        assert await dumped(memory) == live


async def test_whoever_asks_during_a_rebuild_is_told_what_was_there(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, SQLITE)
    after = await tell(bus)
    async with world(bus, tmp_path) as memory:

        async def told() -> tuple[list[str], list[str]]:
            found = await memory.recall(agent, "keep 1", user="ada", after=after)
            return sorted(it.source for it in found.memories), sorted(it.run_id for it in found.episodes)

        before = await told()
        assert all(before)
        rebuilding = asyncio.create_task(memory.related.rebuilder.rebuild(NAMESPACE, "desk"))
        asked = 0
        while not rebuilding.done():
            assert await told() == before
            asked += 1
        await rebuilding
        assert asked > 2


async def test_lost_files_are_made_again_from_the_log(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, SQLITE)
    after = await tell(bus)
    async with world(bus, tmp_path / "one") as memory:
        await memory.recall(agent, "keep", user="ada", after=after)
        before = await dumped(memory)
    async with world(bus, tmp_path / "two") as memory:
        await memory.recall(agent, "keep", user="ada", after=after)
        assert await dumped(memory) == before


async def test_one_line_moves_episodes_to_postgres_and_nothing_stays_behind(
    bus: Bus, tmp_path: Path, postgres: str
) -> None:
    await put_agent(bus, SQLITE)
    after = await tell(bus)
    async with world(bus, tmp_path, {"DSN": postgres}) as memory:
        agent = await put_agent(bus, {**SQLITE, "episodic": {"backend": "postgres", "connection": {"url": "${DSN}"}}})
        await until(lambda: asked(memory, agent, "keep 1", after), seconds=20)
        kept = await dumped(memory)

        async def left() -> bool:
            return len(await memory.related.ledger.places()) == 2

        await until(left)
        await memory.related.rebuilder.rebuild(NAMESPACE, "desk")
        assert await dumped(memory) == kept
    assert b"keep 1" not in (tmp_path / "episodes.sqlite").read_bytes()


async def test_a_database_that_is_away_is_told_of_and_put_in_step_when_it_is_back(
    bus: Bus, tmp_path: Path, own_postgres: PostgresServer
) -> None:
    environ = {"DSN": own_postgres.fresh_database()}
    agent = await put_agent(bus, {"episodic": {"backend": "postgres", "connection": {"url": "${DSN}"}}})
    first = Told("before the storm", "calm", user="ada")
    async with world(bus, tmp_path, environ) as memory:
        after = await store(bus, first)
        assert await memory.happened(agent, "the storm", user="ada", after=after) == [first.question]
        own_postgres.stop()
        (health,) = await memory.related.kept.health(agent)
        assert (health.kind, health.connected) == ("episodic", False)
        assert environ["DSN"] not in health.message
        assert own_postgres.password not in health.message
        second = Told("in the storm", "wet", user="ada")
        after = await store(bus, second)
        memory.seconds = 3.0
        with pytest.raises(Unavailable):
            await memory.recall(agent, "the storm", user="ada", after=after)
        own_postgres.start()

        async def both() -> bool:
            return len(await asked(memory, agent, "the storm", after)) == 2

        await until(both, seconds=20)
        (health,) = await memory.related.kept.health(agent)
        assert health.connected


async def test_two_replicas_keep_the_same_in_one_database(bus: Bus, tmp_path: Path, postgres: str) -> None:
    connection = {"connection": {"url": "${DSN}"}}
    agent = await put_agent(
        bus, {"semantic": {"backend": "pgvector", **connection}, "episodic": {"backend": "postgres", **connection}}
    )
    environ = {"DSN": postgres}
    async with world(bus, tmp_path / "one", environ) as one, world(bus, tmp_path / "two", environ) as two:
        after = await tell(bus)
        for replica in (one, two):
            assert len((await replica.recall(agent, "keep 1", user="ada", after=after)).episodes) == 3
        kept = await dumped(one)
        assert await dumped(two) == kept
        await one.related.rebuilder.rebuild(NAMESPACE, "desk")
        after = await in_session(bus, cleared(), "s0")
        await store(bus, Told("keep going", "on", user="ada"))
        first = await dumped(one)
        assert await dumped(two) == first
        assert first != kept
        await two.related.rebuilder.rebuild(NAMESPACE, "desk")
        assert await dumped(one) == first
