"""The words of a sidecar's passages, for BM25: an FTS5 table that triggers keep in the transaction of every change.

Words are compared without case, accents and English endings. The table reads texts and headings from `passages` and
holds its index alone (https://www.sqlite.org/fts5.html, "External Content Tables").
"""

from __future__ import annotations

import sqlite3

from astromesh_core.filters import Filter
from astromesh_vectors.asked_words import asked_words
from astromesh_vectors.faiss_store import facts

_TABLE = (
    "CREATE VIRTUAL TABLE words USING fts5(text, headings, content = 'passages', content_rowid = 'number',"
    " tokenize = 'porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER words_of_new AFTER INSERT ON passages BEGIN"
    " INSERT INTO words (rowid, text, headings) VALUES (new.number, new.text, new.headings); END",
    "CREATE TRIGGER words_of_gone AFTER DELETE ON passages BEGIN"
    " INSERT INTO words (words, rowid, text, headings) VALUES ('delete', old.number, old.text, old.headings); END",
    # For a sidecar that was filled before it had words.
    "INSERT INTO words (words) VALUES ('rebuild')",
)


_ERASES = sqlite3.sqlite_version_info >= (3, 42)
"""Whether FTS5 itself takes words out of its index; before, it writes beside them that they are gone."""

_FEW = 10_000
"""Passages whose index is written anew in some milliseconds."""


def prepare(connection: sqlite3.Connection) -> None:
    """Makes the table where there is none. Call in a transaction that has the table `passages`."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'words'").fetchone() is None:
        for statement in _TABLE:
            connection.execute(statement)
    if _ERASES:
        connection.execute("INSERT INTO words (words, rank) VALUES ('secure-delete', 1)")


def erase(connection: sqlite3.Connection) -> None:
    """Leaves nothing of the words of passages that went. With an SQLite before 3.42 and more than 10,000 passages they
    go when FTS5 next merges the part of its index that holds them."""
    if not _ERASES and connection.execute("SELECT 1 FROM passages LIMIT 1 OFFSET ?", (_FEW,)).fetchone() is None:
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")


def best(connection: sqlite3.Connection, text: str, limit: int, where: Filter | None = None) -> list[int]:
    """The numbers of the passages that share words with `text`, best first by BM25, equal ones by number.

    Of those alone that meet a condition; how rare a word is, is counted in all.
    """
    query = as_query(text)
    if not query:
        return []
    condition, values = ("1", []) if where is None else facts.expression(where, "rowid")
    statement = f"SELECT rowid FROM words WHERE words MATCH ? AND ({condition}) ORDER BY rank, rowid LIMIT ?"
    return [number for (number,) in connection.execute(statement, (query, *values, limit))]


def as_query(text: str) -> str:
    """What FTS5 is asked: any of the words, each in quotes, where nothing is an operator.

    FTS5 reads a word like `similarity_threshold` as two that stand beside each other, in the passages too.
    """
    return " OR ".join(f'"{word}"' for word in asked_words(text))
