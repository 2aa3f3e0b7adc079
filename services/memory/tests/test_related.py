"""Semantic and episodic memory from the log to what a run is told, on a real bus with real stores."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_API
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, RUN_STATUS_FAILED
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.errors import Unavailable
from astromesh_core.events.identity import user_key
from astromesh_memory.lifetimes import Lifetimes
from astromesh_memory.runs.keeping import AgentKey
from astromesh_testing.waiting import until

from .told_runs import (
    KEY,
    NAMESPACE,
    Told,
    World,
    cleared,
    erased,
    expired,
    feedback,
    in_session,
    key_of,
    put_agent,
    store,
    world,
)

BOTH = {"semantic": {"backend": "faiss"}, "episodic": {"backend": "sqlite"}}
DOG = Told("my dog is called Rex", "good to know", user="ada", session="monday")


async def test_what_was_said_and_what_happened_is_found_in_a_later_session(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    failed = Told("walk my dog called Rex", user="ada", session="monday", tool="walk", fails="it rains")
    after = await store(bus, DOG, failed)
    async with world(bus, tmp_path) as memory:
        found = await memory.recall(agent, "what is my dog called", user="ada", session="friday", after=after)
    (said,) = found.memories
    assert "Rex" in said.text.text
    assert (said.source, said.id) == (DOG.aggregate.id, f"{DOG.aggregate.id}:3")
    assert [(it.run_id, it.status) for it in found.episodes] == [
        (DOG.aggregate.id, RUN_STATUS_COMPLETED),
        (failed.aggregate.id, RUN_STATUS_FAILED),
    ]
    last = found.episodes[1]
    assert [(tool.name, tool.calls, tool.failures) for tool in last.tools] == [("walk", 1, 0)]
    assert (last.goal.text, last.outcome.text) == ("walk my dog called Rex", "it rains")
    assert (last.cost_nanos, last.input_tokens, last.output_tokens) == (7, 10, 5)


@pytest.mark.parametrize(
    ("user", "principal"),
    [
        ("bob", "app"),
        ("", "app"),
        ("Ada", "app"),
        ("ada ", "app"),
        ("ada\0", "app"),
        ("ada' OR '1'='1", "app"),
        ("%", "app"),
        ("*", "app"),
        ("ada", "other-app"),
        ("ada", "anonymous"),
        ("ppada", "a"),
    ],
)
async def test_nobody_is_told_of_anothers_runs(bus: Bus, tmp_path: Path, user: str, principal: str) -> None:
    agent = await put_agent(bus, BOTH)
    after = await store(bus, DOG)
    async with world(bus, tmp_path) as memory:
        for session in ("monday", "friday", ""):
            found = await memory.recall(
                agent, DOG.question, user=user, principal=principal, session=session, after=after
            )
            assert (len(found.memories), len(found.episodes)) == (0, 0)


async def test_the_ledger_holds_nobodys_words_and_nobodys_name(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    named = Told("my dog is called Rex", "good to know", user="ada-lovelace", session="monday-morning")
    after = await store(bus, named)
    async with world(bus, tmp_path) as memory:
        assert await memory.happened(agent, named.question, user="ada-lovelace", after=after) == [named.question]
    assert b"Rex" in (tmp_path / "episodes.sqlite").read_bytes()
    ledger = (tmp_path / "remembered.sqlite").read_bytes()
    assert not any(word in ledger for word in (b"Rex", b"ada-lovelace", b"monday-morning"))


async def test_anonymous_callers_share_nothing_but_a_session(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    after = await store(bus, Told("my cat is called Tom", "fine", session="a"))
    async with world(bus, tmp_path) as memory:
        assert await memory.said(agent, "cat Tom", session="b", after=after) == []
        assert len(await memory.said(agent, "cat Tom", session="a", after=after)) == 1
        assert len(await memory.happened(agent, "my cat is called", session="a", after=after)) == 1
        assert await memory.said(agent, "cat Tom", session="a", user="ada", after=after) == []


@pytest.mark.parametrize(("scope", "counts"), [("session", (0, 1)), ("agent", (1, 1)), ("user", (0, 0))])
async def test_a_scope_opens_what_it_says(bus: Bus, tmp_path: Path, scope: str, counts: tuple[int, int]) -> None:
    agent = await put_agent(
        bus, {"semantic": {"backend": "faiss", "scope": scope}, "episodic": {"backend": "sqlite", "scope": scope}}
    )
    after = await store(bus, DOG)
    async with world(bus, tmp_path) as memory:
        for session, count in zip(("friday", "monday"), counts, strict=True):
            found = await memory.recall(agent, DOG.question, user="bob", session=session, after=after)
            assert (len(found.memories), len(found.episodes)) == (count, count)


async def test_other_agents_of_one_collection_find_nothing(bus: Bus, tmp_path: Path) -> None:
    shared = {"semantic": {"backend": "faiss", "collection": "all", "scope": "agent"}}
    await put_agent(bus, shared)
    other = await put_agent(bus, shared, "other")
    after = await store(bus, DOG)
    async with world(bus, tmp_path) as memory:
        assert await memory.said(other, DOG.question, user="ada", session="monday", after=after) == []


async def test_a_person_is_found_and_forgotten_with_an_agent_that_declares_no_memory_for_the_moment(
    bus: Bus, tmp_path: Path
) -> None:
    await put_agent(bus, BOTH)
    await put_agent(bus, BOTH, "other")
    async with world(bus, tmp_path) as memory:
        await store(bus, DOG)
        await put_agent(bus, {})
        await until_gone(memory)
        (found,) = await memory.related.kept.sessions_of(NAMESPACE, user_key(KEY, NAMESPACE, "ada"), 10)
        assert (found.session_key, found.agent) == (key_of("monday", "desk"), "desk")
        await in_session(bus, erased("ada"), "monday")
        assert await memory.related.kept.sessions_of(NAMESPACE, user_key(KEY, NAMESPACE, "ada"), 10) == []


async def test_a_person_forgotten_while_no_agent_of_the_mesh_remembers_stays_forgotten_when_one_does_again(
    bus: Bus, tmp_path: Path
) -> None:
    await put_agent(bus, BOTH)
    await store(bus, DOG)
    await put_agent(bus, {})
    ada = user_key(KEY, NAMESPACE, "ada")
    async with world(bus, tmp_path) as memory:
        assert memory.related.keepers.agents() == {}
        (found,) = await memory.related.kept.sessions_of(NAMESPACE, ada, 10)
        assert (found.session_key, found.agent) == (key_of("monday", "desk"), "desk")
        await in_session(bus, erased("ada"), "monday")
        assert await memory.related.kept.sessions_of(NAMESPACE, ada, 10) == []
        agent = await put_agent(bus, BOTH)
        after = await store(bus, Told("my cat is called Tom", "noted", user="ada", session="tuesday"))
        assert await memory.happened(agent, DOG.question, user="ada", after=after) == ["my cat is called Tom"]


async def until_gone(memory: World) -> None:
    async def gone() -> bool:
        return memory.related.keepers.of(AgentKey(NAMESPACE, "desk", "semantic")) is None

    await until(gone)


async def test_clearing_erasing_and_expiry_forget_what_they_name_and_nothing_else(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    bobs = Told("my dog is called Bello", "noted", user="bob", session="monday")
    adas = Told("my dog is called Wolf", "noted", user="ada", session="tuesday")
    async with world(bus, tmp_path) as memory:
        await store(bus, DOG, bobs, adas)
        after = await in_session(bus, erased("ada"), "monday")
        assert await memory.happened(agent, "my dog is called", user="ada", after=after) == [adas.question]
        assert await memory.happened(agent, "my dog is called", user="bob", after=after) == [bobs.question]
        after = await in_session(bus, expired("semantic", 2**62), "monday")
        assert await memory.said(agent, "my dog is called", user="bob", after=after) == []
        assert await memory.happened(agent, "my dog is called", user="bob", after=after) == [bobs.question]
        after = await in_session(bus, expired("", 2**62), "monday")
        assert await memory.happened(agent, "my dog is called", user="bob", after=after) == [bobs.question]
        after = await in_session(bus, cleared(), "monday")
        assert await memory.happened(agent, "my dog is called", user="bob", after=after) == []
        assert len(await memory.said(agent, "my dog is called", user="ada", after=after)) == 1


async def test_who_has_nothing_remembered_costs_no_embedding(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    after = await store(bus, DOG)
    async with world(bus, tmp_path) as memory:
        await memory.recall(agent, "what is my dog called", user="ada", after=after)
        embedded = len(memory.embedder.embedded)
        await memory.recall(agent, "a question of somebody new", user="bob", after=after)
        assert len(memory.embedder.embedded) == embedded
        await memory.recall(agent, "another question", user="ada", after=after)
        assert memory.embedder.embedded[embedded:] == ["another question"]


async def test_a_run_of_a_version_whose_memory_is_gone_is_told_nothing_and_goes_on(bus: Bus, tmp_path: Path) -> None:
    before = await put_agent(bus, BOTH)
    after = await store(bus, DOG)
    await put_agent(bus, {})
    gone = await put_agent(bus, BOTH, "gone")
    await bus.resources.delete("Agent", NAMESPACE, "gone", managed_by=MANAGED_BY_API)
    async with world(bus, tmp_path) as memory:
        for agent in (before, gone):
            found = await memory.recall(agent, DOG.question, user="ada", after=after)
            assert (len(found.memories), len(found.episodes)) == (0, 0)


async def test_feedback_is_remembered_with_its_run(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    async with world(bus, tmp_path) as memory:
        await store(bus, DOG)
        await in_session(bus, feedback(DOG, -1, "rude"), "monday")
        after = await in_session(bus, feedback(DOG, 1, "kind"), "monday")
        found = await memory.recall(agent, DOG.question, user="ada", after=after)
    assert [(said.rating, said.comment.text) for said in found.episodes[0].feedback] == [(1, "kind")]


async def test_what_the_caller_has_already_is_left_out(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, {"semantic": {"backend": "faiss", "max_results": 1}})
    again = Told("my dog is called Rex indeed", "yes", user="ada")
    after = await store(bus, DOG, again)
    async with world(bus, tmp_path) as memory:
        found = await memory.recall(agent, DOG.question, user="ada", after=after, known=(DOG.aggregate.id,))
        assert [passage.source for passage in found.memories] == [again.aggregate.id]


async def test_thresholds_and_lifetimes_hold(bus: Bus, tmp_path: Path) -> None:
    strict = {"similarity_threshold": 0.99}
    agent = await put_agent(
        bus, {"semantic": {"backend": "faiss", **strict}, "episodic": {"backend": "sqlite", **strict, "ttl": 3600}}
    )
    after = await store(bus, DOG)
    async with world(bus, tmp_path) as memory:
        assert len(await memory.said(agent, DOG.question, user="ada", after=after)) == 1
        assert await memory.said(agent, "my dog is called Bello", user="ada", after=after) == []
        assert await memory.happened(agent, DOG.question, user="ada", after=after) == [DOG.question]
        assert await memory.happened(agent, "my dog is called Bello", user="ada", after=after) == []
        short = await put_agent(bus, {"semantic": {"backend": "faiss"}, "episodic": {"backend": "sqlite", "ttl": 1}})
        await asyncio.sleep(1.1)
        assert await memory.happened(short, DOG.question, user="ada", after=after) == []


async def test_what_is_past_its_time_is_an_event_and_stays_forgotten(bus: Bus, tmp_path: Path) -> None:
    both = {"semantic": {"backend": "faiss", "ttl": 60}, "episodic": {"backend": "sqlite"}}
    agent = await put_agent(bus, both)
    after = await store(bus, DOG)
    later = time.time_ns() + 61 * 1_000_000_000
    async with world(bus, tmp_path) as memory:
        related = memory.related
        assert len(await memory.said(agent, DOG.question, user="ada", after=after)) == 1
        assert await Lifetimes(related.keepers, related.ledger, bus.signals, time.time_ns).sweep() == 0
        sent = SentSignals()
        for _ in range(2):
            assert await Lifetimes(related.keepers, related.ledger, sent, lambda: later).sweep() == 1
        first, second = sent.signals
        assert first.id == second.id
        assert (first.aggregate_id, first.expire_session.kind) == (key_of("monday"), "semantic")
        said = first.expire_session
        after = await in_session(bus, expired(said.kind, said.until_unix_nano), "monday")
        assert await memory.said(agent, DOG.question, user="ada", after=after) == []
        assert len(await memory.happened(agent, DOG.question, user="ada", after=after)) == 1
        agent = await put_agent(bus, {**both, "semantic": {"backend": "faiss"}})
        await related.rebuilder.rebuild("default", "desk")
        assert await memory.said(agent, DOG.question, user="ada", after=after) == []


class SentSignals:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []

    async def send(self, namespace: str, signal: Signal) -> None:
        """Stores it."""
        del namespace
        self.signals.append(signal)


async def test_a_run_that_asks_to_be_forgotten_by_one_kind_is(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    plain_run = Told("nothing of this", "stays", user="ada", semantic=False, episodic=False)
    after = await store(bus, plain_run)
    async with world(bus, tmp_path) as memory:
        found = await memory.recall(agent, plain_run.question, user="ada", after=after)
        assert (len(found.memories), len(found.episodes)) == (0, 0)
        assert await memory.related.ledger.rows("default", "desk") == []


async def test_it_goes_on_where_it_stopped_and_with_runs_that_were_at_work(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    cut = Told("my bird is called Pip", "sings", user="ada")
    async with world(bus, tmp_path) as memory:
        after = await store(bus, DOG)
        assert len(await memory.said(agent, DOG.question, user="ada", after=after)) == 1
        writing = cut.begin(bus)
        await writing.flush()
        after = writing.position
        await memory.recall(agent, "bird", user="ada", after=after)
    after = await cut.finish(writing)
    async with world(bus, tmp_path) as memory:
        assert await memory.happened(agent, "my bird is called", user="ada", after=after) == [
            cut.question,
            DOG.question,
        ]


async def test_a_recall_that_memory_has_not_reached_says_so(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)
    after = await store(bus, DOG)
    async with world(bus, tmp_path) as memory:
        memory.seconds = 0.2
        with pytest.raises(Unavailable, match="caught up"):
            await memory.recall(agent, "dog", user="ada", after=Position(after.sequence + 5))


async def test_a_ledger_that_takes_nothing_is_said_and_goes_on_when_it_does_again(bus: Bus, tmp_path: Path) -> None:
    agent = await put_agent(bus, BOTH)

    async def connected() -> set[bool]:
        return {health.connected for health in await memory.related.kept.health(agent)}

    async def as_before() -> bool:
        return await connected() == {True}

    async with world(bus, tmp_path) as memory:
        await until(as_before)
        with closing(sqlite3.connect(tmp_path / "remembered.sqlite", isolation_level=None)) as other:
            other.execute("ALTER TABLE run RENAME TO no_room")
            after = await store(bus, DOG)
            with pytest.raises(Unavailable, match="the ledger of remembered runs cannot be used"):
                await memory.recall(agent, "dog", user="ada", after=after)
            assert await connected() == {False}
            other.execute("ALTER TABLE no_room RENAME TO run")
        await until(as_before)
        assert await memory.happened(agent, DOG.question, user="ada", after=after) == [DOG.question]
