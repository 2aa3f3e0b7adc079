"""The embedded vector store: SQLite for truth, FAISS for search, one thread for both. A `VectorStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage
    from astromesh_vectors.faiss_store.index import Index
    from astromesh_vectors.faiss_store.sidecar import Sidecar
    from astromesh_vectors.ports import Vectors

T = TypeVar("T")

SIDECAR_FILE = "passages.sqlite3"
RETRY_SECONDS = 1.0


class FaissStore:
    """One collection in one folder. Files are opened by the first call; FAISS is loaded by the first change or search.

    `model` names the embedder whose vectors it keeps: opening it for another model or dimension raises Conflict.
    `threads` is how many cores one search may use. Several processes may open the same folder; each sees the others'
    changes.
    """

    def __init__(self, folder: Path, *, model: str, dimension: int, threads: int = 1) -> None:
        self.dimension = dimension
        self._folder = folder
        self._model = model
        self._threads = threads
        self._worker = WorkerThread("faiss")
        self._sidecar: Sidecar | None = None
        self._index: Index | None = None
        self._closed = False

    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: Vectors,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        kept = list(passages)
        return await self._call(lambda: self._put(document, sha256, kept, vectors, metadata or {}))

    async def remove(self, document: str) -> bool:
        return await self._call(lambda: self._remove(document))

    async def documents(self) -> dict[str, bytes]:
        return await self._call(lambda: self._opened().documents())

    async def metadata(self, document: str) -> dict[str, str]:
        return await self._call(lambda: self._opened().metadata(document))

    async def count(self) -> int:
        return await self._call(lambda: self._opened().count())

    async def search(self, vector: Vectors, top_k: int, min_score: float = -1.0) -> list[Passage]:
        return await self._call(lambda: self._search(vector, top_k, min_score))

    async def matches(self, vector: Vectors | None, words: str, limit: int) -> Matches:
        return await self._call(lambda: self._matches(vector, words, limit))

    async def close(self) -> None:
        """Writes the index's file, so that the next start need not build it, and closes. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._worker.call(self._close)
        await self._worker.close()

    async def _call(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable(f"the vector store {self._folder.name} is closed")
        return await self._worker.call(lambda: self._guarded(work))

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.OperationalError as error:
            # Locked by another process, disk full, folder gone: the transaction was rolled back.
            message = f"the vector store {self._folder.name} cannot be used: {error}"
            raise Unavailable(message, retry_after=RETRY_SECONDS) from error
        except sqlite3.DatabaseError as error:
            advice = f"remove {self._folder / SIDECAR_FILE} and ingest anew"
            raise Unavailable(f"the vector store {self._folder.name} is damaged ({error}): {advice}") from error

    def _opened(self) -> Sidecar:
        from astromesh_vectors.faiss_store.sidecar import Sidecar

        if self._sidecar is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._sidecar = Sidecar(self._folder / SIDECAR_FILE, self._model, self.dimension)
        return self._sidecar

    def _put(
        self, document: str, sha256: bytes, passages: list[Passage], vectors: Vectors, metadata: Mapping[str, str]
    ) -> bool:
        from astromesh_vectors.unit import unit_rows

        if len(vectors) != len(passages):
            raise InvalidInput(f"document {document!r} has {len(passages)} passages but {len(vectors)} vectors")
        for passage in passages:
            if passage.text.WhichOneof("form") != "text":
                raise InvalidInput(f"document {document!r} has a passage at {passage.start} without plain text")
        units = unit_rows(vectors, self.dimension)
        rows = zip(passages, (row.tobytes() for row in units), strict=True)
        change = self._opened().put(document, sha256, metadata, rows)
        if change is not None and self._index is not None and self._index.generation == change.before:
            self._index.apply(change, units)
        return change is not None

    def _remove(self, document: str) -> bool:
        from astromesh_vectors.unit import unit_rows

        change = self._opened().remove(document)
        if change is not None and self._index is not None and self._index.generation == change.before:
            self._index.apply(change, unit_rows([], self.dimension))
        return change is not None

    def _search(self, vector: Vectors, top_k: int, min_score: float) -> list[Passage]:
        sidecar = self._opened()
        with sidecar.snapshot():
            nearest = self._nearest(sidecar, vector, top_k)
            return [_scored(sidecar, number, score) for score, number in nearest if score >= min_score]

    def _matches(self, vector: Vectors | None, words: str, limit: int) -> Matches:
        import numpy as np

        sidecar = self._opened()

        def match(number: int, score: float) -> Match:
            return Match(_scored(sidecar, number, score), np.frombuffer(sidecar.vector(number), dtype="<f4"))

        with sidecar.snapshot():
            nearest = [] if vector is None else self._nearest(sidecar, vector, limit)
            return Matches(
                [match(number, score) for score, number in nearest],
                [match(number, 0.0) for number in sidecar.with_words(words, limit)],
            )

    def _nearest(self, sidecar: Sidecar, vector: Vectors, top_k: int) -> list[tuple[float, int]]:
        from astromesh_vectors.unit import unit_rows

        if top_k < 1:
            raise InvalidInput(f"top_k is {top_k}; it must be at least 1")
        return self._fresh_index(sidecar).nearest(unit_rows([vector], self.dimension), top_k)

    def _fresh_index(self, sidecar: Sidecar) -> Index:
        """The index of what the sidecar shows, loaded anew after a change by somebody else."""
        from astromesh_vectors.faiss_store import index

        if self._index is None:
            index.use_threads(self._threads)
        if self._index is None or self._index.generation != sidecar.generation():
            self._index = index.load(self._folder, sidecar, self.dimension)
        return self._index

    def _close(self) -> None:
        from astromesh_vectors.faiss_store import index

        sidecar, loaded = self._sidecar, self._index
        self._sidecar = self._index = None
        if sidecar is not None:
            try:
                if loaded is not None:
                    index.save(self._folder, sidecar.identity, loaded)
            finally:
                sidecar.close()


def _scored(sidecar: Sidecar, number: int, score: float) -> Passage:
    passage = sidecar.passage(number)
    passage.score = score
    return passage
