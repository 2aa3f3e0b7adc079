"""The index of a FAISS store: when it has a graph, what becomes of what is gone, and how an old file is caught up."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from astromesh_core.filters import Equals
from astromesh_core.resources.stores import IndexKind
from astromesh_testing.contracts.stored_vectors import Opener, digest, passage
from astromesh_testing.contracts.vector_scale import DIMENSION, drawn
from astromesh_testing.contracts.vector_store import VectorStoreContract
from astromesh_vectors.faiss_store import remaking
from astromesh_vectors.faiss_store.index import Index, made_of
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.ports import VectorStore

WRITER = Path(__file__).with_name("graph_writer.py")


class TestFaissStoreWithAGraph(VectorStoreContract):
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remaking, "GRAPH_AT_LEAST", 2)
        monkeypatch.setattr(remaking, "DEAD_AT_LEAST", 2)
        monkeypatch.setattr("astromesh_vectors.faiss_store.index.EXACT_AMONG", 20)

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        def open_store(*, model: str, dimension: int) -> VectorStore:
            return FaissStore(tmp_path / "collection", model=model, dimension=dimension, index="hnsw")

        return open_store


def compass(folder: Path, kind: IndexKind = "hnsw") -> FaissStore:
    return FaissStore(folder, model="drawn", dimension=DIMENSION, index=kind)


async def write(store: FaissStore, document: int, count: int = 100) -> None:
    """Always the same vectors for a document."""
    passages = [passage(f"{document} {place}", start=document * 1000 + place) for place in range(count)]
    await store.put(str(document), digest("1"), passages, drawn(count, document + 10), {"document": document})


async def nearest(store: FaissStore, document: int, top: int = 3) -> list[int]:
    found = await store.search(drawn(1, document + 10)[0], "", top)
    return [match.passage.start for match in found.by_vector]


def index_of(store: FaissStore) -> Index:
    assert store.collection is not None
    assert store.collection.index is not None
    return store.collection.index


def files_in(folder: Path) -> list[Path]:
    return list(folder.glob("index-*.faiss"))


async def test_there_is_a_graph_where_one_is_declared_or_passages_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remaking, "GRAPH_FROM", 1_100)
    expected: dict[IndexKind, tuple[bool, bool]] = {"flat": (False, False), "auto": (False, True), "hnsw": (True, True)}
    for kind, graphs in expected.items():
        store = compass(tmp_path / kind, kind)
        for document in range(10):
            await write(store, document)
        await store.settle()
        first = index_of(store).is_graph
        for document in range(10, 12):
            await write(store, document)
        await store.settle()
        assert (first, index_of(store).is_graph) == graphs
        assert await nearest(store, 11, 1) == [11_000]
        await store.close()


async def test_what_is_gone_is_compacted_away(tmp_path: Path) -> None:
    store = compass(tmp_path)
    for document in range(20):
        await write(store, document)
    await store.settle()
    for document in range(10):
        await store.remove(str(document))
    await store.settle()
    assert (index_of(store).size, index_of(store).dead) == (1_000, 0)
    assert await nearest(store, 17, 1) == [17_000]
    assert 3_000 not in await nearest(store, 3, 100)
    await store.close()


async def test_everything_is_found_while_a_graph_is_built(tmp_path: Path) -> None:
    store = compass(tmp_path)
    for document in range(30):
        await write(store, document)
    settling = asyncio.create_task(store.settle())
    for document in range(30, 40):
        await write(store, document)
        assert await nearest(store, document, 1) == [document * 1000]
        await store.remove(str(document - 20))
        assert (document - 20) * 1000 not in await nearest(store, document - 20, 50)
    await settling
    assert index_of(store).size == 3_000
    assert await nearest(store, 39, 1) == [39_000]
    await store.close()


async def test_an_old_file_is_caught_up_and_not_made_anew(tmp_path: Path) -> None:
    store = compass(tmp_path)
    for document in range(15):
        await write(store, document)
    await store.settle()
    await store.close()
    (file,) = files_in(tmp_path)
    kept = file.read_bytes()
    store = compass(tmp_path)
    await write(store, 15)
    await store.remove("3")
    await store.close()
    for newer in files_in(tmp_path):
        newer.unlink()
    file.write_bytes(kept)
    store = compass(tmp_path)
    assert await nearest(store, 15, 1) == [15_000]
    assert 3_000 not in await nearest(store, 3, 50)
    assert index_of(store).is_graph
    assert index_of(store).dead == 100
    await store.close()


async def test_a_kill_costs_what_was_written_since_the_file(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert len(files_in(tmp_path)) == 1
    store = compass(tmp_path)
    assert await store.count() == 1_500
    assert await nearest(store, 14, 1) == [14_000]
    assert index_of(store).is_graph
    await store.close()


async def test_what_a_filter_lets_through_changes_with_the_passages(tmp_path: Path) -> None:
    store = compass(tmp_path)
    await write(store, 1, 5)
    where = Equals("document", 2)
    question = drawn(1, 11)[0]
    assert (await store.search(question, "", 9, where)).by_vector == []
    await write(store, 2, 4)
    assert len((await store.search(question, "", 9, where)).by_vector) == 4
    await store.remove("2")
    assert (await store.search(question, "", 9, where)).by_vector == []
    await store.close()


def test_the_nearest_among_some_are_found_however_few_the_graph_leads_to() -> None:
    rows = drawn(6_000, 1)
    index = made_of(np.arange(1, 6_001), rows, graph=True, wanted=lambda: True)
    assert index is not None
    far = np.argsort(rows @ drawn(1, 2)[0])[:4_500]
    among = index.among((far + 1).tolist())
    found = index.nearest(drawn(1, 2), 10, among)
    assert len(found) == 10
    assert {number - 1 for _, number in found} <= set(far.tolist())


def test_a_graph_that_nobody_wants_any_more_is_left() -> None:
    assert made_of(np.arange(1, 3_001), drawn(3_000, 1), graph=True, wanted=lambda: False) is None
