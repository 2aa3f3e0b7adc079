"""Semantic memory over each of the vector stores: found, kept from others, forgotten, rebuilt, and there later."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from astromesh_core.bus.connection import Bus

from .told_runs import NAMESPACE, Told, cleared, dumped, in_session, put_agent, store, world

DECLARED = {
    "faiss": {"backend": "faiss"},
    "pgvector": {"backend": "pgvector", "connection": {"url": "${DSN}"}},
    "qdrant": {"backend": "qdrant", "path": "vectors"},
    "chroma": {"backend": "chroma", "path": "vectors"},
    "own": {"backend": "own_store:Mine"},
}
OWN_STORE = Path(__file__).parents[3] / "libs" / "vectors" / "tests" / "own_store.py"
"""The class that docs/vector-stores.md shows."""


@pytest.mark.parametrize("backend", DECLARED)
async def test_it_does_the_same_in_every_store(
    bus: Bus, tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    if backend == "own":
        (tmp_path / "code").mkdir()
        shutil.copy(OWN_STORE, tmp_path / "code")
    environ = {"DSN": request.getfixturevalue("postgres")} if backend == "pgvector" else {}
    memory = {"semantic": {**DECLARED[backend], "collection": "all"}}
    agent, other = await put_agent(bus, memory), await put_agent(bus, memory, "other")
    dog = Told("my dog is called Rex", "good to know", user="ada", session="monday")
    bird = Told("my bird is called Pip", "it sings " * 400, user="ada", session="tuesday")
    after = await store(bus, dog, bird, Told("my cat is called Tom", "fine", user="bob"))
    async with world(bus, tmp_path, environ) as one:
        said = await one.said(agent, "my dog is called", user="ada", after=after)
        assert said[0] == "User: my dog is called Rex\nAssistant: good to know"
        assert all("Tom" not in text for text in said)
        assert await one.said(agent, "my dog is called", user="ada' OR 1=1 --", after=after) == []
        assert await one.said(other, "my dog is called", user="ada", after=after) == []
        before = await dumped(one)
        rebuilt = await one.related.rebuilder.rebuild(NAMESPACE, "desk")
        assert (rebuilt.semantic, await dumped(one)) == (3, before)
        after = await in_session(bus, cleared(), "monday")
        assert all("Rex" not in text for text in await one.said(agent, "my dog is called", user="ada", after=after))
    async with world(bus, tmp_path, environ) as one:
        said = await one.said(agent, "my bird sings", user="ada", after=after)
        assert said
        assert all("Rex" not in text for text in said)
        assert {row.run_id for row in (await dumped(one)).rows} >= {bird.aggregate.id}
