"""What is read from the tables: pages of runs, one run, the stored events of one. Runs on the database's thread."""

from __future__ import annotations

import sqlite3
import unicodedata

from astromesh.v1.envelope_pb2 import Commit
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, RunFilter
from astromesh_history.pages import Place

FoundRun = tuple[int, int, bytes]
"""Requested, number, the serialised Run."""


def run_page(
    connection: sqlite3.Connection, namespace: str, of: RunFilter, after: Place | None, size: int
) -> list[FoundRun]:
    """The newest `size` runs that match, those older than `after` where it is given."""
    clauses, values = _conditions(namespace, of)
    if after is not None:
        clauses.append("(requested, number) < (?, ?)")
        values += after
    query = (
        f"SELECT requested, number, folded FROM aggregates WHERE {' AND '.join(clauses)} "
        "ORDER BY requested DESC, number DESC LIMIT ?"
    )
    return connection.execute(query, (*values, size)).fetchall()


def one_run(connection: sqlite3.Connection, namespace: str, run_id: str) -> bytes | None:
    """The serialised Run."""
    found = connection.execute(
        "SELECT folded FROM aggregates WHERE id = ? AND namespace = ? AND type = 1", (run_id, namespace)
    ).fetchone()
    return None if found is None else found[0]


def stored_events(
    connection: sqlite3.Connection,
    namespace: str,
    chain_id: str,
    from_index: int,
    size: int,
    most_bytes: int,
    of_runs: bool = True,
) -> list[bytes] | None:
    """The chain's stored envelopes from an index on: at most `size`, at most `most_bytes` but at least one if there is
    any. None for an unknown chain, and with `of_runs` for one that is no run's."""
    found = connection.execute(
        "SELECT number FROM aggregates WHERE id = ? AND namespace = ? AND (type = 1 OR NOT ?)",
        (chain_id, namespace, of_runs),
    ).fetchone()
    if found is None:
        return None
    envelopes: list[bytes] = []
    room = most_bytes
    rows = connection.execute(
        "SELECT first, data FROM commits WHERE aggregate = ? AND past > ? ORDER BY first", (found[0], from_index)
    )
    for first, data in rows:
        for envelope in Commit.FromString(data).envelopes[max(0, from_index - first) :]:
            room -= len(envelope)
            if envelopes and (len(envelopes) == size or room < 0):
                return envelopes
            envelopes.append(envelope)
    return envelopes


def chains_of(connection: sqlite3.Connection, namespace: str, session_key: str, since: int, until: int) -> list[str]:
    """The ids of runs requested in a time (Unix nanoseconds; 0: no bound), of one session where that is named; then
    the session itself. In order of first sight."""
    clauses, values = ["namespace = ?"], list[str | int]([namespace])
    if session_key:
        clauses.append("(type = 1 AND session_key = ? OR id = ?)")
        values += (session_key, session_key)
    else:
        clauses.append("type = 1")
    for clause, value in (("(type <> 1 OR requested >= ?)", since), ("(type <> 1 OR requested < ?)", until)):
        if value:
            clauses.append(clause)
            values.append(value)
    rows = connection.execute(f"SELECT id FROM aggregates WHERE {' AND '.join(clauses)} ORDER BY number", values)
    return [chain_id for (chain_id,) in rows]


def reached(connection: sqlite3.Connection) -> bytes | None:
    """The position up to which the log is applied; None for an empty read model."""
    found = connection.execute("SELECT position FROM reached").fetchone()
    return None if found is None else found[0]


def next_number(connection: sqlite3.Connection) -> int:
    """The number that the next new aggregate gets."""
    return connection.execute("SELECT coalesce(max(number), 0) + 1 FROM aggregates").fetchone()[0]


def words(text: str) -> list[str]:
    """The words of a search, as the index knows them: letters and digits, the rest parts them."""
    parted = "".join(c if unicodedata.category(c)[0] in "LNM" or c == "\u200d" else " " for c in text)
    return parted.split()


def _conditions(namespace: str, of: RunFilter) -> tuple[list[str], list[str | int]]:
    clauses, values = ["type = 1", "namespace = ?"], list[str | int]([namespace])
    for clause, value in (
        ("agent = ?", of.agent),
        ("session_key = ?", of.session_key),
        ("status = ?", of.status),
        ("requested >= ?", of.from_unix_nano),
        ("requested < ?", of.until_unix_nano),
    ):
        if value:
            clauses.append(clause)
            values.append(value)
    if of.status and of.status != RUN_STATUS_COMPLETED:
        # Says what the status index is restricted to, or SQLite would not use it.
        clauses.append(f"status <> {RUN_STATUS_COMPLETED}")
    if of.asks_human:
        clauses.append("asks = 1")
    if of.text:
        clauses.append("number IN (SELECT rowid FROM texts WHERE texts MATCH ?)")
        values.append(" ".join(f'"{word}"' for word in words(of.text)))
    return clauses, values
