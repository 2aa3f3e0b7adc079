"""Finding ten passages among 20,000 by the words of a question, alone and beside a vector, in both stores that have
words of their own: SQLite's FTS5 of the embedded one, and PostgreSQL's index with BM25 counted over what it finds.

The texts are real, the questions four words of a passage each, drawn; the vectors are short, so that words are what is
measured. "Same" is how much of what FTS5 finds the other finds.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from figures import Figure, Latencies
from mixed_text import mixed_text
from numpy.typing import NDArray
from processes import cores

from astromesh.v1.values_pb2 import Content, Passage
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_testing.postgres import IN_HASTE, postgres_server
from astromesh_testing.server_process import NotStarted
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.pgvector_store.store import PgvectorStore
from astromesh_vectors.ports import VectorStore

SCENARIO = "Ten of 20,000 passages by words (500 characters of mixed real text each)"
PASSAGES = 20_000
CHARACTERS = 500
A_DOCUMENT = 100
DIMENSION = 8
WORDS = 4
TOP = 10
QUERIES = 400

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Data:
    """What is stored and what is asked."""

    texts: list[str]
    vectors: Vectors
    questions: list[str]


def measure(share: float) -> Iterator[Figure]:
    """Both stores on the measured core, PostgreSQL's server wherever it likes; a share makes fewer of everything."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[0]})
    part = min(share, 1.0)
    data = drawn(max(1_000, int(PASSAGES * part)), max(40, int(QUERIES * part)))
    try:
        yield from uvloop.run(_measured(data, affinity))
    finally:
        os.sched_setaffinity(0, affinity)


def drawn(passages: int, questions: int) -> Data:
    """The same each time, on the same machine."""
    draw = random.Random(4)
    text = mixed_text(passages * CHARACTERS)
    texts = [text[place : place + CHARACTERS].replace("\0", " ") for place in range(0, len(text), CHARACTERS)]
    asked = [
        draw.sample(words, WORDS) for one in texts if len(words := [w for w in one.split() if w.isalpha()]) > WORDS
    ]
    vectors = np.random.default_rng(4).standard_normal((len(texts), DIMENSION), dtype=np.float32)
    return Data(texts, vectors, [" ".join(words) for words in draw.sample(asked, questions)])


async def _measured(data: Data, everywhere: set[int]) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        embedded = FaissStore(Path(made) / "faiss", model="drawn", dimension=DIMENSION)
        truth, figures = await _asked("Astromesh, embedded store: FTS5", embedded, data, [])
        measured = os.sched_getaffinity(0)
        os.sched_setaffinity(0, everywhere)
        try:
            with postgres_server(IN_HASTE) as server:
                os.sched_setaffinity(0, measured)
                address = postgres_address(Connection(url=server.dsn()), {})
                store = PgvectorStore(address, collection="bench", model="drawn", dimension=DIMENSION)
                _, others = await _asked("Astromesh, pgvector store: tsvector, BM25", store, data, truth)
        except NotStarted as error:
            others = [Figure(SCENARIO, "words", "pgvector", f"not measured: {error}"[:120])]
        return [*figures, *others]


async def _asked(
    name: str, store: VectorStore, data: Data, truth: list[set[str]]
) -> tuple[list[set[str]], list[Figure]]:
    """What was found for each question, and how long it took."""
    try:
        await _fill(store, data)
        for question in data.questions[:20]:
            await store.search(data.vectors[0], question, TOP)
        figures, found = list[Figure](), list[set[str]]()
        for what, vector in (("words", None), ("words and vector", data.vectors[1])):
            each, found = list[float](), list[set[str]]()
            for question in data.questions:
                begun = time.perf_counter()
                matches = await store.search(vector, question, TOP)
                each.append(time.perf_counter() - begun)
                found.append({match.passage.id for match in matches.by_words})
            same = "" if not truth else f"   same {_same(truth, found):.3f}"
            timed = Latencies(sum(each), each)
            value = f"p50 {timed.at(0.5):.2f} ms   p95 {timed.at(0.95):.2f} ms{same}"
            figures.append(Figure(SCENARIO, what, name, value))
        return found, figures
    finally:
        await store.close()


async def _fill(store: VectorStore, data: Data) -> None:
    for first in range(0, len(data.texts), A_DOCUMENT):
        texts = data.texts[first : first + A_DOCUMENT]
        passages = [Passage(source="s", start=first, text=Content(text=text)) for text in texts]
        await store.put(str(first), b"1", passages, data.vectors[first : first + A_DOCUMENT])


def _same(truth: list[set[str]], found: list[set[str]]) -> float:
    return sum(len(one & other) for one, other in zip(truth, found, strict=True)) / sum(map(len, truth))
