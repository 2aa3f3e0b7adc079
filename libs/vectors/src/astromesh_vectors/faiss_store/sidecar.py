"""The truth of a FAISS store: documents, passages and vectors in one SQLite file. Knows nothing of FAISS.

Every change is one transaction that also counts `generation` up, so an index can tell whether it is of this content.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from astromesh.v1.values_pb2 import Content, Passage
from astromesh_core.errors import Conflict, NotFound
from astromesh_vectors.faiss_store import keywords

SCHEMA = 1
BUSY_SECONDS = 10.0

_TABLES = (
    "CREATE TABLE IF NOT EXISTS store (schema INTEGER NOT NULL, identity TEXT NOT NULL, model TEXT NOT NULL,"
    " dimension INTEGER NOT NULL, generation INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, sha256 BLOB NOT NULL, metadata TEXT NOT NULL)"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS passages (number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " document TEXT NOT NULL REFERENCES documents (id), ordinal INTEGER NOT NULL, source TEXT NOT NULL,"
    " first INTEGER NOT NULL, past INTEGER NOT NULL, headings TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL,"
    " UNIQUE (document, ordinal))",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change: the generations around it, and the numbers of the passages that went and came, in order."""

    before: int
    after: int
    removed: list[int]
    added: list[int]


class Sidecar:
    """One connection, used from one thread. Raises Conflict when the file belongs to another model or dimension."""

    def __init__(self, path: Path, model: str, dimension: int) -> None:
        self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._open(path, model, dimension)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, path: Path, model: str, dimension: int) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        # FULL: what was acknowledged survives a power cut, not only a kill.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self._transaction("IMMEDIATE"):
            for statement in _TABLES:
                self._connection.execute(statement)
            keywords.prepare(self._connection)
            if self._connection.execute("SELECT 1 FROM store").fetchone() is None:
                row = (SCHEMA, secrets.token_hex(8), model, dimension)
                self._connection.execute("INSERT INTO store VALUES (?, ?, ?, ?, 0)", row)
        schema, identity, had_model, had_dimension = self._connection.execute(
            "SELECT schema, identity, model, dimension FROM store"
        ).fetchone()
        self.identity: str = identity
        if (schema, had_model, had_dimension) != (SCHEMA, model, dimension):
            raise Conflict(
                f"{path} holds vectors of {had_model} with {had_dimension} dimensions (schema {schema}), asked for are "
                f"{model} with {dimension} (schema {SCHEMA}); use another collection, or remove it and ingest anew"
            )

    def snapshot(self) -> AbstractContextManager[None]:
        """Reads inside it see one state, whatever other connections write meanwhile."""
        return self._transaction("DEFERRED")

    def generation(self) -> int:
        """Counts the changes of all connections to this file."""
        return int(self._connection.execute("SELECT generation FROM store").fetchone()[0])

    def hash_of(self, document: str) -> bytes | None:
        row = self._connection.execute("SELECT sha256 FROM documents WHERE id = ?", (document,)).fetchone()
        return None if row is None else row[0]

    def put(
        self, document: str, sha256: bytes, metadata: Mapping[str, str], rows: Iterable[tuple[Passage, bytes]]
    ) -> Change | None:
        """Puts these passages in the place of the document's old ones; None when it stands at this hash already."""
        with self._transaction("IMMEDIATE"):
            if self.hash_of(document) == sha256:
                return None
            removed = self._forget(document)
            values = (document, sha256, json.dumps(dict(metadata), sort_keys=True))
            self._connection.execute("INSERT INTO documents VALUES (?, ?, ?)", values)
            for ordinal, (passage, vector) in enumerate(rows):
                self._insert(document, ordinal, passage, vector)
            return self._changed(removed, self._numbers(document))

    def remove(self, document: str) -> Change | None:
        """Forgets the document; None when it was not there."""
        with self._transaction("IMMEDIATE"):
            if self.hash_of(document) is None:
                return None
            return self._changed(self._forget(document), [])

    def documents(self) -> dict[str, bytes]:
        return dict(self._connection.execute("SELECT id, sha256 FROM documents ORDER BY id"))

    def metadata(self, document: str) -> dict[str, str]:
        row = self._connection.execute("SELECT metadata FROM documents WHERE id = ?", (document,)).fetchone()
        if row is None:
            raise NotFound(f"document {document!r} is not in this collection")
        return json.loads(row[0])

    def count(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM passages").fetchone()[0])

    def vectors(self) -> Iterator[tuple[int, bytes]]:
        """Every passage's number and vector, in the order of writing."""
        return self._connection.execute("SELECT number, vector FROM passages ORDER BY number")

    def with_words(self, text: str, limit: int) -> list[int]:
        """The numbers of the passages that share words with a text, by BM25, best first, equal ones by number."""
        return keywords.best(self._connection, text, limit)

    def vector(self, number: int) -> bytes:
        """The vector of the passage with this number."""
        return self._connection.execute("SELECT vector FROM passages WHERE number = ?", (number,)).fetchone()[0]

    def passage(self, number: int) -> Passage:
        """The passage with this number, `id` (document and ordinal) and `sha256` (of its text) set."""
        document, ordinal, source, first, past, headings, text = self._connection.execute(
            "SELECT document, ordinal, source, first, past, headings, text FROM passages WHERE number = ?", (number,)
        ).fetchone()
        return Passage(
            id=f"{document}#{ordinal}",
            source=source,
            start=first,
            end=past,
            headings=json.loads(headings),
            text=Content(text=text),
            sha256=hashlib.sha256(text.encode()).digest(),
        )

    def close(self) -> None:
        self._connection.close()

    def _insert(self, document: str, ordinal: int, passage: Passage, vector: bytes) -> None:
        self._connection.execute(
            "INSERT INTO passages (document, ordinal, source, first, past, headings, text, vector) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                document,
                ordinal,
                passage.source,
                passage.start,
                passage.end,
                json.dumps(list(passage.headings), ensure_ascii=False),
                passage.text.text,
                vector,
            ),
        )

    def _forget(self, document: str) -> list[int]:
        numbers = self._numbers(document)
        self._connection.execute("DELETE FROM passages WHERE document = ?", (document,))
        self._connection.execute("DELETE FROM documents WHERE id = ?", (document,))
        return numbers

    def _numbers(self, document: str) -> list[int]:
        query = "SELECT number FROM passages WHERE document = ? ORDER BY ordinal"
        return [number for (number,) in self._connection.execute(query, (document,))]

    def _changed(self, removed: list[int], added: list[int]) -> Change:
        self._connection.execute("UPDATE store SET generation = generation + 1")
        after = self.generation()
        return Change(after - 1, after, removed, added)

    @contextmanager
    def _transaction(self, mode: str) -> Generator[None]:
        self._connection.execute(f"BEGIN {mode}")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
