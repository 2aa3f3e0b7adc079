"""One transaction of the read model: the rows that a number of commits come to, and the position they lead to."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

SIZES = (64, 8, 1)
"""Rows that one statement takes. SQLite gives the interpreter's lock away at every statement, and a busy event loop is
slow to give it back: a transaction of few statements is what keeps both fast."""

_AGGREGATES = (
    "INSERT INTO aggregates "
    "(number, namespace, id, type, next_index, sha256, folded, agent, session_key, status, requested, asks) VALUES ",
    " ON CONFLICT (number) DO UPDATE SET next_index = excluded.next_index, sha256 = excluded.sha256, "
    "folded = excluded.folded, agent = excluded.agent, session_key = excluded.session_key, "
    "status = excluded.status, requested = excluded.requested, asks = excluded.asks",
)
_COMMITS = ("INSERT INTO commits (aggregate, first, past, data) VALUES ", " ON CONFLICT DO NOTHING")
_TEXTS = ("INSERT OR REPLACE INTO texts (rowid, query, answer) VALUES ", "")
_OBJECTS = ("INSERT INTO objects (sha256, data) VALUES ", " ON CONFLICT DO NOTHING")
_ALARMS = ("INSERT INTO alarms (time, namespace, id, at, kind, reason) VALUES ", "")
_CHARGES = (
    "INSERT INTO charges (namespace, time, aggregate, at, number, path, agent, principal, provider, model, "
    "input, output, cached, cache_written, reasoning, estimated, cost) VALUES ",
    " ON CONFLICT DO NOTHING",
)

AggregateRow = tuple[int, str, str, int, int, bytes, bytes, str, str, int, int, int]
ChargeRow = tuple[str, int, int, int, int, str, str, str, str, str, int, int, int, int, int, int, int]
Row = Sequence[int | str | bytes]


@dataclass(slots=True)
class Batch:
    """The rows of one transaction. `position` is where the next reading of the log begins."""

    position: bytes
    aggregates: list[AggregateRow] = field(default_factory=list[AggregateRow])
    commits: list[tuple[int, int, int, bytes]] = field(default_factory=list[tuple[int, int, int, bytes]])
    texts: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    charges: list[ChargeRow] = field(default_factory=list[ChargeRow])
    objects: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    alarms: list[tuple[int, str, str, int, str, str]] = field(default_factory=list[tuple[int, str, str, int, str, str]])


def write(connection: sqlite3.Connection, batch: Batch) -> None:
    """Writes the batch, all or nothing. Writing it again changes nothing but that alarms stand twice."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _insert(connection, _COMMITS, batch.commits)
        _insert(connection, _AGGREGATES, batch.aggregates)
        _insert(connection, _TEXTS, batch.texts)
        _insert(connection, _CHARGES, batch.charges)
        _insert(connection, _OBJECTS, list(batch.objects.items()))
        _insert(connection, _ALARMS, batch.alarms)
        connection.execute("INSERT OR REPLACE INTO reached VALUES (1, ?)", (batch.position,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert(connection: sqlite3.Connection, statement: tuple[str, str], rows: Sequence[Row]) -> None:
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            part = rows[start : start + size]
            place = f"({', '.join('?' * len(part[0]))})"
            sql = f"{statement[0]}{', '.join([place] * size)}{statement[1]}"
            connection.execute(sql, [value for row in part for value in row])
            start += size
