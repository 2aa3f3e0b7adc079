"""Vectors that were computed before, by model and content: on disk, so that taking a text in again embeds nothing.

Rules: a vector is found under the SHA-256 of its text and the name and dimension of its model, bit by bit as the model
made it. Texts are not kept. Beyond `most_bytes` those that were used longest ago go. What cannot be read or written is
computed again and said in the log: a cache costs time at worst, never an answer.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from astromesh_core.telemetry.logs import logger
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    from astromesh_vectors.ports import Embedder, Vectors

T = TypeVar("T")

FILE: Final = "embedded.sqlite3"
MOST_BYTES: Final = 256 * 1024 * 1024
"""150,000 vectors of MiniLM."""

AT_A_TIME: Final = 256
"""Texts embedded between two writes: what a killed process has to compute again."""

_SQL_VARIABLES: Final = 500
_DAY: Final = 86_400
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
  model TEXT NOT NULL, text BLOB NOT NULL, used INTEGER NOT NULL, vector BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS by_text ON vectors (model, text);
CREATE INDEX IF NOT EXISTS by_use ON vectors (used);
"""

_log = logger(__name__)


class VectorCache:
    """The vectors of a data folder. Processes may share it; each opens it with its first question."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, seconds: Callable[[], float] = time.time) -> None:
        self._path = folder / FILE
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._worker = WorkerThread("embedded")
        self._database: sqlite3.Connection | None = None
        self._failed = False

    async def found(self, model: str, texts: Sequence[bytes]) -> dict[bytes, bytes]:
        """The vectors that are known, by the hashes of their texts."""
        return await self._worker.call(lambda: self._tried(lambda database: self._read(database, model, texts), {}))

    async def keep(self, model: str, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Keeps vectors by the hashes of their texts."""
        await self._worker.call(lambda: self._tried(lambda database: self._write(database, model, vectors), None))

    async def close(self) -> None:
        """Closes the file. Idempotent."""
        await self._worker.close()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _tried(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        try:
            if self._database is None:
                self._database = self._opened()
            return work(self._database)
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                _log.warning("embedded texts are not remembered", file=str(self._path), reason=str(error))
            self._failed = True
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self._begin_anew()
            return otherwise

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            # What power loss takes is computed again.
            # The page size is such that vectors of 1,024 numbers leave little of a page empty.
            database.executescript(
                f"PRAGMA page_size=16384; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_SCHEMA}"
            )
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _begin_anew(self) -> None:
        """A file that is damaged is put away."""
        if self._database is not None:
            self._database.close()
            self._database = None
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
            with suppress(OSError):
                self._path.with_name(name).unlink(missing_ok=True)

    def _read(self, database: sqlite3.Connection, model: str, texts: Sequence[bytes]) -> dict[bytes, bytes]:
        today = int(self._seconds() // _DAY)
        known: dict[bytes, bytes] = {}
        stale: list[tuple[int, str, bytes]] = []
        for some in _parts(texts, _SQL_VARIABLES):
            marks = ",".join("?" * len(some))
            query = f"SELECT text, used, vector FROM vectors WHERE model = ? AND text IN ({marks})"
            for text, used, vector in database.execute(query, (model, *some)):
                known[text] = vector
                if used < today:
                    stale.append((today, model, text))
        if stale:
            self._all(database, "UPDATE vectors SET used = ? WHERE model = ? AND text = ?", stale)
        return known

    def _write(self, database: sqlite3.Connection, model: str, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        today = int(self._seconds() // _DAY)
        rows = [(model, text, today, vector) for text, vector in vectors]
        self._all(database, "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
        while self._bytes(database) > self._most_bytes:
            oldest = "SELECT rowid FROM vectors ORDER BY used, rowid LIMIT (SELECT 1 + count(*) / 10 FROM vectors)"
            if not database.execute(f"DELETE FROM vectors WHERE rowid IN ({oldest})").rowcount:
                return

    def _all(self, database: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(statement, rows)
        except sqlite3.Error:
            database.rollback()
            raise
        database.commit()

    @staticmethod
    def _bytes(database: sqlite3.Connection) -> int:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


class RememberingEmbedder:
    """An `Embedder` that asks its model for each text once, as long as the cache keeps the vector."""

    def __init__(self, embedder: Embedder, cache: VectorCache) -> None:
        self._embedder = embedder
        self._cache = cache
        self._model = f"{embedder.name}/{embedder.dimension}"

    @property
    def name(self) -> str:
        """See Embedder."""
        return self._embedder.name

    @property
    def dimension(self) -> int:
        """See Embedder."""
        return self._embedder.dimension

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder. What was embedded is kept every 256 texts, so that a call that ends early was not in vain."""
        import numpy as np

        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        hashes = [hashlib.sha256(text.encode(errors="surrogatepass")).digest() for text in texts]
        known = await self._cache.found(self._model, list(dict.fromkeys(hashes)))
        missing = {key: text for key, text in zip(hashes, texts, strict=True) if key not in known}
        for some in _parts(list(missing), AT_A_TIME):
            vectors = await self._embedder.embed([missing[key] for key in some])
            fresh = [(key, vector.astype("<f4").tobytes()) for key, vector in zip(some, vectors, strict=True)]
            await self._cache.keep(self._model, fresh)
            known |= fresh
        return np.frombuffer(b"".join(known[key] for key in hashes), dtype="<f4").reshape(len(texts), -1).copy()

    async def close(self) -> None:
        """Nothing: model and cache are their owner's."""


def _parts(values: Sequence[bytes], size: int) -> Iterable[list[bytes]]:
    rest = iter(values)
    return iter(lambda: list(islice(rest, size)), [])
