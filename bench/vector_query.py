"""Finding ten passages among 100,000 by their vectors, with and without a filter, in one process and on one core.

The vectors are drawn: normed points near a space of 24 dimensions in 384, about as neighbouring as sentences are. Every
one asked answers with texts and metadata but bare FAISS, which gives places alone. Recall is against a look at each.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import uvloop
from figures import Figure, Latencies
from numpy.typing import NDArray
from processes import cores

from astromesh.v1.values_pb2 import Content, Passage
from astromesh_core.filters import Equals, Filter, Within
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_testing.postgres import IN_HASTE, postgres_server
from astromesh_testing.server_process import NotStarted
from astromesh_vectors.faiss_store.index import NEIGHBOURS, SEARCH_WIDTH
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.pgvector_store.store import PgvectorStore
from astromesh_vectors.ports import VectorStore

SCENARIO = "Ten of 100,000 passages by vector (384 dimensions)"
PASSAGES = 100_000
A_DOCUMENT = 100
TENANTS = 100
YEARS = 20
DIMENSION = 384
TOP = 10
QUERIES = 1_000
RIVAL_QUERIES = 200
SLOW_QUERIES = 5
TARGET = "p95 ≤ 0.5 ms, recall ≥ 0.95"

Vectors = NDArray[np.float32]
Ask = Callable[[Vectors, Filter | None], Awaitable[list[int]]]
"""The places of the passages found, best first."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """A filter, and the documents that it lets through."""

    name: str
    where: Filter | None
    lets: Callable[[int], bool]


FILTERS = (
    Filtered("no filter", None, lambda document: True),
    Filtered("a filter that 1 % meet", Equals("tenant", 7), lambda document: document % TENANTS == 7),
    Filtered("a filter that half meet", Within("year", at_least=2010), lambda document: document % YEARS >= YEARS // 2),
)


@dataclass(frozen=True, slots=True)
class Data:
    """What is stored and what is asked."""

    rows: Vectors
    questions: Vectors

    def nearest(self, filtered: Filtered) -> list[set[int]]:
        """The places of the true nearest, question by question."""
        places = np.array([place for place in range(len(self.rows)) if filtered.lets(place // A_DOCUMENT)])
        scores = self.questions @ self.rows[places].T
        return [set(places[np.argpartition(-row, TOP)[:TOP]].tolist()) for row in scores]


def measure(share: float) -> Iterator[Figure]:
    """Ours first, then the others; a share makes fewer passages and fewer questions."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[0]})
    faiss.omp_set_num_threads(1)
    data = drawn(max(10_000, int(PASSAGES * min(share, 1.0))), max(50, int(QUERIES * min(share, 1.0))))
    try:
        with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
            for asked in (_ours, _bare_faiss, _chroma, _pgvector, _qdrant):
                yield from uvloop.run(asked(Path(made), data))
    finally:
        os.sched_setaffinity(0, affinity)


def drawn(passages: int, questions: int) -> Data:
    """The same each time."""
    random = np.random.default_rng(384)
    space = random.standard_normal((24, DIMENSION), dtype=np.float32)

    def points(count: int) -> Vectors:
        near = random.standard_normal((count, 24), dtype=np.float32) @ space
        near += 0.3 * random.standard_normal((count, DIMENSION), dtype=np.float32)
        return near / np.linalg.norm(near, axis=1, keepdims=True)

    return Data(points(passages), points(questions))


async def _ours(folder: Path, data: Data) -> list[Figure]:
    store = FaissStore(folder / "faiss", model="drawn", dimension=DIMENSION, index="hnsw")
    async with _filled(store, data) as took:
        begun = time.perf_counter()
        await store.settle()
        built = time.perf_counter() - begun
        name = "Astromesh, FAISS store: texts, metadata, own thread"
        figures = [
            await _asked(name, _of_store(store), data, filtered, len(data.questions), TARGET) for filtered in FILTERS
        ]
    rate = len(data.rows) / took
    return [*figures, Figure(SCENARIO, "writing", name, f"{rate:,.0f} passages/s, then {built:.0f} s for the graph")]


async def _bare_faiss(folder: Path, data: Data) -> list[Figure]:
    del folder
    index = faiss.IndexHNSWFlat(DIMENSION, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(data.rows)
    settings = faiss.SearchParametersHNSW(efSearch=SEARCH_WIDTH)

    async def ask(question: Vectors, where: Filter | None) -> list[int]:
        del where
        return index.search(question.reshape(1, -1), TOP, params=settings)[1][0].tolist()

    return [await _asked("bare FAISS HNSW, float32, same width: places alone", ask, data, FILTERS[0], RIVAL_QUERIES)]


async def _chroma(folder: Path, data: Data) -> list[Figure]:
    import chromadb
    from chromadb.api.types import Where
    from chromadb.config import Settings

    client = chromadb.PersistentClient(folder / "chroma", Settings(anonymized_telemetry=False))
    collection = client.create_collection("passages", embedding_function=None, configuration={"hnsw": {"space": "ip"}})
    for start in range(0, len(data.rows), 5_000):
        places = range(start, min(start + 5_000, len(data.rows)))
        collection.add(
            ids=[str(place) for place in places],
            embeddings=data.rows[start : start + 5_000],
            documents=[_text(place) for place in places],
            metadatas=[dict(_metadata(place // A_DOCUMENT)) for place in places],
        )
    wheres: dict[Filter | None, Where] = {
        FILTERS[1].where: {"tenant": 7},
        FILTERS[2].where: {"year": {"$gte": 2010}},
    }

    async def ask(question: Vectors, where: Filter | None) -> list[int]:
        found = collection.query(query_embeddings=question.reshape(1, -1), n_results=TOP, where=wheres.get(where))
        return [int(place) for place in found["ids"][0]]

    name = f"Chroma {chromadb.__version__} in process: texts, metadata"
    return [await _asked(name, ask, data, filtered, RIVAL_QUERIES) for filtered in FILTERS]


async def _qdrant(folder: Path, data: Data) -> list[Figure]:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder / "qdrant"))
    client.create_collection("passages", models.VectorParams(size=DIMENSION, distance=models.Distance.DOT))
    for start in range(0, len(data.rows), 5_000):
        points = [
            models.PointStruct(id=place, vector=data.rows[place].tolist(), payload={**_metadata(place // A_DOCUMENT)})
            for place in range(start, min(start + 5_000, len(data.rows)))
        ]
        client.upsert("passages", points)

    async def ask(question: Vectors, where: Filter | None) -> list[int]:
        del where
        found = client.query_points("passages", query=question.tolist(), limit=TOP, with_payload=True)
        return [int(point.id) for point in found.points]

    figures = [await _asked("Qdrant in process: metadata", ask, data, FILTERS[0], SLOW_QUERIES)]
    client.close()
    return figures


async def _pgvector(folder: Path, data: Data) -> list[Figure]:
    del folder
    try:
        with postgres_server(IN_HASTE) as server:
            address = postgres_address(Connection(url=server.dsn()), {})
            store = PgvectorStore(address, collection="bench", model="drawn", dimension=DIMENSION, metric="ip")
            async with _filled(store, data):
                name = "Astromesh, pgvector store on the other core"
                return [await _asked(name, _of_store(store), data, filtered, RIVAL_QUERIES) for filtered in FILTERS]
    except NotStarted as error:
        return [Figure(SCENARIO, "no filter", "pgvector", f"not measured: {error}"[:120])]


@asynccontextmanager
async def _filled(store: VectorStore, data: Data) -> AsyncGenerator[float]:
    """Yields the seconds that writing everything took."""
    begun = time.perf_counter()
    try:
        for document in range(len(data.rows) // A_DOCUMENT):
            places = range(document * A_DOCUMENT, (document + 1) * A_DOCUMENT)
            passages = [_passage(document, place) for place in places]
            rows = data.rows[places.start : places.stop]
            await store.put(f"{document}", b"1", passages, rows, _metadata(document))
        yield time.perf_counter() - begun
    finally:
        await store.close()


def _of_store(store: VectorStore) -> Ask:
    async def ask(question: Vectors, where: Filter | None) -> list[int]:
        found = await store.search(question, "", TOP, where)
        return [match.passage.start for match in found.by_vector]

    return ask


async def _asked(name: str, ask: Ask, data: Data, filtered: Filtered, questions: int, target: str = "") -> Figure:
    for question in data.questions[:20]:
        await ask(question, filtered.where)
        if questions <= SLOW_QUERIES:
            break
    nearest, hits, each = data.nearest(filtered), 0, list[float]()
    await asyncio.sleep(0)
    for place, question in enumerate(data.questions[:questions]):
        begun = time.perf_counter()
        found = await ask(question, filtered.where)
        each.append(time.perf_counter() - begun)
        assert len(found) == TOP, f"{name} found {len(found)} with {filtered.name}"
        hits += len(nearest[place].intersection(found))
    timed = Latencies(sum(each), each)
    recall = hits / (TOP * len(each))
    value = f"p50 {timed.at(0.5):.2f} ms   p95 {timed.at(0.95):.2f} ms   recall@10 {recall:.3f}"
    return Figure(SCENARIO, filtered.name, name, value, target)


def _passage(document: int, place: int) -> Passage:
    return Passage(source=f"{document}.md", start=place, text=Content(text=_text(place)))


def _text(place: int) -> str:
    return f"Passage {place}. " + "It says what passages say, at about the length that passages have. " * 7


def _metadata(document: int) -> dict[str, str | int | float | bool]:
    return {"tenant": document % TENANTS, "year": 2000 + document % YEARS, "source": f"{document}.md"}
