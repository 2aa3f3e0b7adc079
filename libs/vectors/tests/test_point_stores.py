"""Qdrant and Chroma under the contract, in a folder and on a server, and what is their own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from astromesh_core.errors import Unavailable
from astromesh_core.resources.stores import Metric
from astromesh_testing.chroma import ChromaServer, chroma_server
from astromesh_testing.contracts.vector_store import (
    EAST,
    NORTH,
    Opener,
    VectorStoreContract,
    digest,
    found,
    nearest,
    passage,
    rows,
    vector,
    write,
)
from astromesh_testing.qdrant import qdrant_stand_in
from astromesh_vectors.chroma_store import opening as chroma
from astromesh_vectors.passages import Kept
from astromesh_vectors.point_store.generations import Generations, new_generation
from astromesh_vectors.point_store.points import Manifest, Point, Points, Purpose
from astromesh_vectors.point_store.store import PointStore
from astromesh_vectors.ports import VectorStore
from astromesh_vectors.qdrant_store import opening as qdrant


def opener_of(connect: Callable[[], Points], folder: Path, *, shared: bool = False) -> Opener:
    def open_store(*, model: str, dimension: int) -> VectorStore:
        return PointStore(connect, Purpose(model, dimension), folder / "words", name="compass", shared=shared)

    return open_store


class TestQdrantInAFolder(VectorStoreContract):
    shared = False
    most_passages = 5_000

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(lambda: qdrant.in_folder(tmp_path, "compass", "cosine"), tmp_path)


@pytest.fixture(scope="module")
def qdrant_url() -> Iterator[str]:
    """Of a real server where there is one."""
    if "QDRANT_URL" in os.environ:
        yield os.environ["QDRANT_URL"]
        return
    with qdrant_stand_in() as server:
        yield server.url


class TestQdrantOnAServer(VectorStoreContract):
    most_passages = 100_000 if "QDRANT_URL" in os.environ else 5_000

    @pytest.fixture
    def opener(self, qdrant_url: str, tmp_path: Path) -> Opener:
        name = f"compass-{uuid.uuid4().hex[:8]}"
        return opener_of(lambda: qdrant.on_server(qdrant_url, "", name, "cosine", exact=False), tmp_path, shared=True)


async def test_a_key_that_qdrant_does_not_take_is_told(tmp_path: Path) -> None:
    with qdrant_stand_in("s3cret") as server:
        for key, answers in (("s3cret", True), ("wrong", False)):
            connect = partial(qdrant.on_server, server.url, key, "compass", "cosine", exact=True)
            store = opener_of(connect, tmp_path, shared=True)(model="m", dimension=4)
            if answers:
                assert await store.count() == 0
            else:
                with pytest.raises(Unavailable, match="403"):
                    await store.count()
            await store.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ChromaServer]:
    with chroma_server() as running:
        yield running


class TestChromaOnAServer(VectorStoreContract):
    @pytest.fixture
    def opener(self, server: ChromaServer, tmp_path: Path) -> Opener:
        name = f"compass-{uuid.uuid4().hex[:8]}"
        return opener_of(lambda: chroma.on_server(server.url, "", name, "cosine"), tmp_path, shared=True)


class TestChromaInAFolder(VectorStoreContract):
    shared = False

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(lambda: chroma.in_folder(tmp_path, "compass", "cosine"), tmp_path)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("backend", [qdrant, chroma])
async def test_scores_are_cosines_under_every_metric(backend: ModuleType, metric: Metric, tmp_path: Path) -> None:
    store = opener_of(lambda: backend.in_folder(tmp_path, "compass", metric), tmp_path)(model="m", dimension=4)
    texts = [passage("east"), passage("north-east"), passage("west")]
    await store.put("a", digest("a"), texts, rows([2, 0, 0, 0], [3, 3, 0, 0], [-1, 0, 0, 0]))
    found_ = await nearest(store, [5, 0, 0, 0], 3)
    assert [(hit.text.text, hit.score) for hit in found_] == [
        ("east", pytest.approx(1.0, abs=1e-6)),
        ("north-east", pytest.approx(0.5**0.5, abs=1e-6)),
        ("west", pytest.approx(-1.0, abs=1e-6)),
    ]
    await store.close()


@pytest.mark.parametrize("backend", [qdrant, chroma])
async def test_another_metric_later_changes_no_score(backend: ModuleType, tmp_path: Path) -> None:
    for metric in ("cosine", "l2"):
        store = opener_of(partial(backend.in_folder, tmp_path, "compass", metric), tmp_path)(model="m", dimension=4)
        await write(store, "a", "one", direction=[3, 3, 0, 0])
        (hit,) = await nearest(store)
        assert hit.score == pytest.approx(0.5**0.5, abs=1e-6)
        await store.close()


async def test_a_writer_that_was_killed_leaves_nothing_to_see(tmp_path: Path) -> None:
    points = qdrant.in_folder(tmp_path, "compass", "cosine")
    opener = opener_of(lambda: points, tmp_path)
    store = opener(model="m", dimension=4)
    await write(store, "a", "old")
    # As a writer leaves it that is killed between its passages and its manifest: now, and long ago.
    recent, old = new_generation(0), f"{1:020d}-gone"
    for generation in (recent, old):
        kept = Kept("a.md", 0, 4, (), f"half of {generation}", "{}")
        points.add([Point(generation, "a", 0, kept, {}, vector(EAST))])
    assert await found(store) == ["old"]
    assert await found(store) == ["old"]
    await write(store, "b", "another", direction=NORTH)
    assert points.of(old) == []
    assert len(points.of(recent)) == 1
    assert await found(store) == ["old", "another"]
    await store.close()


async def test_what_is_read_stays_while_it_is_replaced(tmp_path: Path) -> None:
    generations = Generations()
    first, second = (Manifest("a", b"1", new_generation(number), 1, "{}") for number in (0, 1))
    generations.hide([first.generation])
    generations.show("a", first, None)
    with generations.reading() as view:
        generations.hide([second.generation])
        generations.show("a", second, first)
        assert view.shows("a", first.generation)
        assert not view.shows("a", second.generation)
        assert generations.discardable() == []
    assert generations.discardable() == [first.generation]
    with generations.reading() as view:
        assert view.shows("a", second.generation)
        assert first.generation in view.hidden
    generations.discarded([first.generation])
    assert generations.discardable() == []
