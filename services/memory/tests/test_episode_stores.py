"""The contract of episode stores over both backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from astromesh_core.errors import Unavailable
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_memory.episodes.ports import EpisodeStore, KeptEpisode
from astromesh_memory.episodes.postgres import PostgresEpisodes
from astromesh_memory.episodes.sqlite import SqliteEpisodes
from astromesh_memory.runs.scopes import Among


def open_postgres(dsn: str, mesh: str = "one") -> PostgresEpisodes:
    return PostgresEpisodes(postgres_address(Connection(url="${DSN}"), {"DSN": dsn}), mesh)


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EpisodeStore]:
    opened: EpisodeStore = (
        SqliteEpisodes(tmp_path / "e.sqlite")
        if request.param == "sqlite"
        else open_postgres(request.getfixturevalue("postgres"))
    )
    yield opened
    await opened.close()


def kept(number: int, **other: object) -> KeptEpisode:
    episode = KeptEpisode("ns", "desk", f"run-{number}", "s", "o", number, b"v", b"\0\1", b"\0'%s")
    return episode._replace(**other)


async def ids(store: EpisodeStore, among: Among, limit: int = 100, since: int = 0) -> list[str]:
    return [one.run_id for one in await store.last("ns", "desk", among, limit, since)]


async def test_the_newest_come_first_and_no_more_than_asked_for(store: EpisodeStore) -> None:
    for number in (2, 9, 5):
        await store.put(kept(number))
    assert await ids(store, Among(), 2) == ["run-9", "run-5"]
    assert await ids(store, Among(), since=5) == ["run-9"]
    assert (await store.last("ns", "desk", Among(), 1))[0] == kept(9)


async def test_owners_sessions_agents_and_namespaces_are_apart(store: EpisodeStore) -> None:
    await store.put(kept(1))
    await store.put(kept(2, owner_key="other"))
    await store.put(kept(3, session_key="other"))
    await store.put(kept(4, agent="other"))
    await store.put(kept(5, namespace="other"))
    assert await ids(store, Among(owner_key="o")) == ["run-3", "run-1"]
    assert await ids(store, Among(session_key="s")) == ["run-2", "run-1"]
    assert await ids(store, Among("o", "s")) == ["run-1"]
    assert await ids(store, Among("", "s")) == []
    assert await ids(store, Among("o' OR 1=1 --", "%")) == []
    assert sorted(await store.versions("ns", "desk")) == ["run-1", "run-2", "run-3"]


async def test_a_second_put_replaces_and_removing_is_idempotent(store: EpisodeStore) -> None:
    await store.put(kept(1))
    await store.put(kept(1, version=b"w"))
    assert dict(await store.versions("ns", "desk")) == {"run-1": b"w"}
    for _ in range(2):
        await store.remove("ns", "desk", ["run-1", "run-7"])
    assert dict(await store.versions("ns", "desk")) == {}


async def test_those_that_are_asked_for_come_by_run(store: EpisodeStore) -> None:
    for number in (3, 1, 2):
        await store.put(kept(number))
    assert [one.run_id for one in await store.those("ns", "desk", ["run-3", "run-1", "run-8"])] == ["run-1", "run-3"]


async def test_closed_it_is_unavailable(store: EpisodeStore) -> None:
    await store.put(kept(1))
    await store.close()
    await store.close()
    with pytest.raises(Unavailable):
        await store.versions("ns", "desk")


async def test_meshes_of_one_database_are_apart(postgres: str) -> None:
    one, two = open_postgres(postgres), open_postgres(postgres, "two")
    await one.put(kept(1))
    assert dict(await two.versions("ns", "desk")) == {}
    await two.remove("ns", "desk", ["run-1"])
    assert await ids(one, Among()) == ["run-1"]
    await one.close()
    await two.close()


async def test_what_is_removed_is_no_longer_in_the_file(tmp_path: Path) -> None:
    store = SqliteEpisodes(tmp_path / "e.sqlite")
    await store.put(kept(1, episode=b"very-secret"))
    await store.remove("ns", "desk", ["run-1"])
    await store.close()
    assert b"very-secret" not in (tmp_path / "e.sqlite").read_bytes()
