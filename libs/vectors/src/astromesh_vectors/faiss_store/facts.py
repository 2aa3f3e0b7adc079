"""The metadata of a sidecar's passages as rows that an index finds, and filters as SQL over them.

One row a passage and key. Kinds are kept apart, so that no value equals one of another kind; numbers compare exactly,
integers with doubles too (https://www.sqlite.org/datatype3.html, "Comparison Expressions").
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Final, TypeAlias

from astromesh_core.filters import (
    Equals,
    Every,
    Exists,
    Filter,
    Metadata,
    MetadataValue,
    Not,
    OneOf,
    Some,
    Within,
    kind_of,
)

Parameter: TypeAlias = str | float | int
Sql: TypeAlias = tuple[str, list[Parameter]]
"""An expression, and what stands for its question marks."""

TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS facts (key TEXT NOT NULL, kind INTEGER NOT NULL, value NOT NULL,"
    " number INTEGER NOT NULL, PRIMARY KEY (key, kind, value, number)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS facts_of ON facts (number)",
)

_KINDS: Final = {"truth": 0, "number": 1, "text": 2}
_NUMBER: Final = _KINDS["number"]


def insert(connection: sqlite3.Connection, number: int, metadata: Metadata) -> None:
    """Writes the metadata of a passage."""
    rows = [(key, *_stored(value), number) for key, value in metadata.items()]
    connection.executemany("INSERT INTO facts VALUES (?, ?, ?, ?)", rows)


def forget(connection: sqlite3.Connection, document: str) -> None:
    """Deletes the metadata of a document's passages, which still stand."""
    which = "SELECT number FROM passages WHERE document = ?"
    connection.execute(f"DELETE FROM facts WHERE number IN ({which})", (document,))


def numbers(connection: sqlite3.Connection, where: Filter) -> Iterator[tuple[int]]:
    """The numbers of the passages that meet a condition."""
    condition, values = expression(where)
    return connection.execute(f"SELECT number FROM passages WHERE {condition}", values)


def expression(where: Filter, column: str = "number") -> Sql:
    """A condition on the column that holds passages' numbers."""
    match where:
        case Every(parts):
            return _joined(parts, "AND", "1", column)
        case Some(parts):
            return _joined(parts, "OR", "0", column)
        case Not(part):
            inner, values = expression(part, column)
            return f"NOT ({inner})", values
        case _:
            condition, values = _fact(where)
            return f"{column} IN (SELECT number FROM facts WHERE key = ? AND {condition})", [where.key, *values]


def _joined(parts: tuple[Filter, ...], word: str, empty: str, column: str) -> Sql:
    each = [expression(part, column) for part in parts]
    if not each:
        return empty, []
    return f" {word} ".join(f"({condition})" for condition, _ in each), [value for _, own in each for value in own]


def _fact(where: Equals | OneOf | Within | Exists) -> Sql:
    match where:
        case Equals(_, value):
            return "kind = ? AND value = ?", [*_stored(value)]
        case OneOf(_, values):
            listed = json.dumps([_stored(value) for value in values])
            pairs = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"
            return f"(kind, value) IN ({pairs})", [listed]
        case Within():
            return _within(where)
        case Exists():
            return "1", []


def _within(bounds: Within) -> Sql:
    given = {">": bounds.above, ">=": bounds.at_least, "<": bounds.below, "<=": bounds.at_most}
    there = {sign: value for sign, value in given.items() if value is not None}
    return " AND ".join(["kind = ?", *(f"value {sign} ?" for sign in there)]), [_NUMBER, *there.values()]


def _stored(value: MetadataValue) -> tuple[int, Parameter]:
    return _KINDS[kind_of(value)], int(value) if isinstance(value, bool) else value
