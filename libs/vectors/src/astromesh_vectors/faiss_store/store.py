"""The embedded vector store: SQLite for truth, FAISS for search, one thread for both. A `VectorStore`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from astromesh_core.errors import Unavailable
from astromesh_core.filters import Filter, Metadata, MetadataValue
from astromesh_core.resources.stores import IndexKind
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage
    from astromesh_vectors.faiss_store.searching import OpenCollection
    from astromesh_vectors.ports import Vectors

T = TypeVar("T")

SIDECAR_FILE = "passages.sqlite3"
RETRY_SECONDS = 1.0
SETTLE_SECONDS = 0.05


class FaissStore:
    """One collection in one folder. Files are opened by the first call; FAISS is loaded by the first change or search.

    `model` names the embedder whose vectors it keeps: opening it for another model or dimension raises Conflict.
    `threads` is how many cores one search may use. Several processes may open the same folder; each sees the others'
    changes.
    """

    def __init__(
        self, folder: Path, *, model: str, dimension: int, index: IndexKind = "auto", threads: int = 1
    ) -> None:
        self.dimension = dimension
        self._folder = folder
        self._model = model
        self._kind: IndexKind = index
        self._threads = threads
        self._worker = WorkerThread("faiss")
        self.collection: OpenCollection | None = None
        """What is open, once something is. Of the store's thread: others look at it while nothing happens."""
        self._closed = False

    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: Vectors,
        metadata: Metadata | None = None,
        text: str = "",
    ) -> bool:
        from astromesh_vectors.passages import checked

        kept = list(passages)
        content = checked(document, kept, vectors, metadata, self.dimension)
        return await self._call(lambda: self._opened().put(document, sha256, kept, content, text))

    async def remove(self, document: str) -> bool:
        return await self._call(lambda: self._opened().remove(document))

    async def documents(self, where: Filter | None = None) -> dict[str, bytes]:
        return await self._call(lambda: self._opened().sidecar.documents(where))

    async def metadata(self, document: str) -> dict[str, MetadataValue]:
        return await self._call(lambda: self._opened().sidecar.metadata(document))

    async def text(self, document: str) -> str:
        return await self._call(lambda: self._opened().sidecar.text(document))

    async def passages(self, document: str) -> list[Match]:
        return await self._call(lambda: self._opened().passages(document))

    async def count(self) -> int:
        return await self._call(lambda: self._opened().count())

    async def search(
        self,
        vector: Vectors | None,
        words: str,
        limit: int,
        where: Filter | None = None,
        min_score: float = -1.0,
    ) -> Matches:
        return await self._call(lambda: self._opened().search(vector, words, limit, where, min_score))

    async def settle(self) -> None:
        """Waits until a graph that is wanted is built. Searches find everything in the meantime, but slower."""
        while not await self._call(lambda: self._opened().is_settled()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(SETTLE_SECONDS)

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
        except OSError as error:
            message = f"the vector store {self._folder} cannot be used: {error.strerror or error}"
            raise Unavailable(message, retry_after=RETRY_SECONDS) from error

    def _opened(self) -> OpenCollection:
        from astromesh_vectors.faiss_store.searching import OpenCollection
        from astromesh_vectors.faiss_store.sidecar import Sidecar

        if self.collection is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            sidecar = Sidecar(self._folder / SIDECAR_FILE, self._model, self.dimension)
            self.collection = OpenCollection(self._folder, sidecar, self.dimension, self._kind, self._threads)
        return self.collection

    def _close(self) -> None:
        collection, self.collection = self.collection, None
        if collection is not None:
            collection.close()
