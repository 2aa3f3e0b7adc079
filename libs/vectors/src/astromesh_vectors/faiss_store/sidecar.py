"""The truth of a FAISS store: documents, passages and vectors in one SQLite file. Knows nothing of FAISS.

Every change is one transaction that also counts `generation` up, so an index can tell whether it is of this content.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from astromesh.v1.values_pb2 import Passage
from astromesh_core.errors import Conflict, NotFound
from astromesh_core.filters import Filter, Metadata, MetadataValue, is_met
from astromesh_vectors.faiss_store import facts, keywords
from astromesh_vectors.passages import Kept, passage_of

SCHEMA = 3
BUSY_SECONDS = 10.0
MAPPED_BYTES = 1 << 30
"""Of the file, read without a call of the system for each page."""

MOST_MARKS = 10_000
"""Of one statement; SQLite allows 32,766."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS store (schema INTEGER NOT NULL, identity TEXT NOT NULL, model TEXT NOT NULL,"
    " dimension INTEGER NOT NULL, generation INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, sha256 BLOB NOT NULL, metadata TEXT NOT NULL,"
    " text TEXT NOT NULL DEFAULT '') WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS passages (number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " document TEXT NOT NULL REFERENCES documents (id), ordinal INTEGER NOT NULL, headings TEXT NOT NULL,"
    " text TEXT NOT NULL, vector BLOB NOT NULL, told BLOB NOT NULL DEFAULT x'', UNIQUE (document, ordinal))",
    *facts.TABLES,
)

_TO_SCHEMA_2 = (
    "ALTER TABLE documents ADD COLUMN text TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE passages ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
    *facts.TABLES,
    "UPDATE documents SET text = coalesce(json_extract(metadata, '$.text'), ''),"
    " metadata = json_remove(metadata, '$.text')",
    "UPDATE passages SET metadata = (SELECT metadata FROM documents WHERE id = document)",
    "INSERT INTO facts SELECT entry.key, 2, entry.value, number FROM passages, json_each(passages.metadata) AS entry",
)
"""Schema 1 kept texts as metadata, of documents alone, and values were texts."""

_TO_SCHEMA_3 = (
    "ALTER TABLE passages ADD COLUMN told BLOB NOT NULL DEFAULT x''",
    "UPDATE passages SET told = told(document, ordinal, source, first, past, headings, text, metadata)",
    *(f"ALTER TABLE passages DROP COLUMN {column}" for column in ("source", "first", "past", "metadata")),
)
"""Schema 2 kept what is told of a passage in columns, from which each query had to put it together."""

_UPDATES: Mapping[int, tuple[str, ...]] = {1: (*_TO_SCHEMA_2, *_TO_SCHEMA_3), 2: _TO_SCHEMA_3}

PassageRow: TypeAlias = tuple[int, bytes, str, bytes]

_COLUMNS = "number, told, text, vector"


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change: the generations around it, and the numbers of the passages that went and came, in order."""

    before: int
    after: int
    removed: list[int]
    added: list[int]


@dataclass(frozen=True, slots=True)
class Row:
    """A passage to write: `metadata` is all that filters see of it, `vector` its bytes."""

    passage: Passage
    metadata: Metadata
    vector: bytes


class Sidecar:
    """One connection, used from one thread. Raises Conflict when the file belongs to another model or dimension.

    What was acknowledged survives a power cut where it is `durable`, else a kill alone.
    """

    def __init__(self, path: Path, model: str, dimension: int, *, durable: bool = True) -> None:
        self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            # What is forgotten is overwritten, not only unlinked.
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._open(path, model, dimension)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, path: Path, model: str, dimension: int) -> None:
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self._transaction("IMMEDIATE"):
            self._prepare(model, dimension)
        schema, identity, had_model, had_dimension = self._connection.execute(
            "SELECT schema, identity, model, dimension FROM store"
        ).fetchone()
        self.identity: str = identity
        if (schema, had_model, had_dimension) != (SCHEMA, model, dimension):
            raise Conflict(
                f"{path} holds vectors of {had_model} with {had_dimension} dimensions (schema {schema}), asked for are "
                f"{model} with {dimension} (schema {SCHEMA}); use another collection, or remove it and ingest anew"
            )

    def _prepare(self, model: str, dimension: int) -> None:
        connection = self._connection
        there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'store'").fetchone() is not None
        schema = connection.execute("SELECT schema FROM store").fetchone()[0] if there else SCHEMA
        connection.create_function("told", 8, _told, deterministic=True)
        for statement in _UPDATES.get(schema, _TABLES):
            connection.execute(statement)
        if schema in _UPDATES:
            connection.execute("UPDATE store SET schema = ?", (SCHEMA,))
        keywords.prepare(connection)
        if not there:
            row = (SCHEMA, secrets.token_hex(8), model, dimension)
            connection.execute("INSERT INTO store VALUES (?, ?, ?, ?, 0)", row)

    def snapshot(self) -> AbstractContextManager[None]:
        """Reads inside it see one state, whatever other connections write meanwhile."""
        return self._transaction("DEFERRED")

    def generation(self) -> int:
        """Counts the changes of all connections to this file."""
        return int(self._connection.execute("SELECT generation FROM store").fetchone()[0])

    def hash_of(self, document: str) -> bytes | None:
        row = self._connection.execute("SELECT sha256 FROM documents WHERE id = ?", (document,)).fetchone()
        return None if row is None else row[0]

    def put(self, document: str, sha256: bytes, metadata: Metadata, text: str, rows: Iterable[Row]) -> Change | None:
        """Puts these passages in the place of the document's old ones; None when it stands at this hash already."""
        with self._transaction("IMMEDIATE"):
            if self.hash_of(document) == sha256:
                return None
            removed = self._forget(document)
            values = (document, sha256, json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False), text)
            self._connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", values)
            added = [self._insert(document, ordinal, row) for ordinal, row in enumerate(rows)]
            return self._changed(removed, added)

    def remove(self, document: str) -> Change | None:
        """Forgets the document; None when it was not there."""
        with self._transaction("IMMEDIATE"):
            if self.hash_of(document) is None:
                return None
            change = self._changed(self._forget(document), [])
            keywords.erase(self._connection)
            return change

    def documents(self, where: Filter | None) -> dict[str, bytes]:
        if where is None:
            return dict(self._connection.execute("SELECT id, sha256 FROM documents ORDER BY id"))
        rows = self._connection.execute("SELECT id, sha256, metadata FROM documents ORDER BY id")
        return {name: sha256 for name, sha256, metadata in rows if is_met(where, json.loads(metadata))}

    def metadata(self, document: str) -> dict[str, MetadataValue]:
        return json.loads(self._of_document("metadata", document))

    def text(self, document: str) -> str:
        return self._of_document("text", document)

    def count(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM passages").fetchone()[0])

    def numbers(self) -> Iterator[tuple[int]]:
        """Every passage's number, in the order of writing."""
        return self._connection.execute("SELECT number FROM passages ORDER BY number")

    def numbers_where(self, where: Filter) -> Iterator[tuple[int]]:
        """The numbers of the passages that meet a condition, in any order."""
        return facts.numbers(self._connection, where)

    def vectors_after(self, number: int) -> Iterator[tuple[int, bytes]]:
        """The number and the vector of every passage written after this one, in the order of writing."""
        return self._connection.execute(
            "SELECT number, vector FROM passages WHERE number > ? ORDER BY number", (number,)
        )

    def with_words(self, text: str, limit: int, where: Filter | None = None) -> list[int]:
        """The numbers of the passages that share words with a text, by BM25, best first, equal ones by number."""
        return keywords.best(self._connection, text, limit, where)

    def rows(self, numbers: Sequence[int]) -> dict[int, PassageRow]:
        """The rows of the passages with these numbers, for `read`."""
        found: dict[int, PassageRow] = {}
        for start in range(0, len(numbers), MOST_MARKS):
            some = numbers[start : start + MOST_MARKS]
            marks = ", ".join("?" * len(some))
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM passages WHERE number IN ({marks})", some)
            found.update((row[0], row) for row in rows)
        return found

    def numbers_of(self, document: str) -> list[int]:
        """The numbers of a document's passages, in their order. Raises NotFound."""
        self._of_document("id", document)
        return self._numbers(document)

    def close(self) -> None:
        self._connection.close()

    def _of_document(self, column: str, document: str) -> str:
        row = self._connection.execute(f"SELECT {column} FROM documents WHERE id = ?", (document,)).fetchone()
        if row is None:
            raise NotFound(f"document {document!r} is not in this collection")
        return row[0]

    def _insert(self, document: str, ordinal: int, row: Row) -> int:
        passage = row.passage
        headings = json.dumps(list(passage.headings), ensure_ascii=False)
        metadata = json.dumps(dict(row.metadata), ensure_ascii=False)
        text = passage.text.text
        told = _told(document, ordinal, passage.source, passage.start, passage.end, headings, text, metadata)
        number = self._connection.execute(
            "INSERT INTO passages (document, ordinal, headings, text, vector, told) VALUES (?, ?, ?, ?, ?, ?)",
            (document, ordinal, headings, text, row.vector, told),
        ).lastrowid
        assert number is not None
        facts.insert(self._connection, number, row.metadata)
        return number

    def _forget(self, document: str) -> list[int]:
        numbers = self._numbers(document)
        facts.forget(self._connection, document)
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


def read(row: PassageRow) -> tuple[Passage, bytes]:
    """A new passage of a row, and its vector."""
    _, told, text, vector = row
    passage = Passage.FromString(told)
    passage.text.text = text
    return passage, vector


def _told(  # noqa: PLR0913 - SQLite's function of the columns that schema 2 had
    document: str, ordinal: int, source: str, first: int, past: int, headings: str, text: str, metadata: str
) -> bytes:
    """The passage as it is found, serialized without its text, which stands beside it for the index of words."""
    kept = Kept(source, first, past, tuple(json.loads(headings)), text, metadata)
    passage = passage_of(document, ordinal, kept)
    passage.ClearField("text")
    return passage.SerializeToString()
