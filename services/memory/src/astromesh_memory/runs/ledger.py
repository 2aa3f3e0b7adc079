"""The ledger of remembered runs, in SQLite: which runs, whose, and how far the log is applied. No text of anybody's.

A projection of the log. What is remembered of a run stands in the stores that agents declare, made again from the run's
own events whenever ledger and store differ. Every method blocks and belongs to one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from json import dumps
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from astromesh_core.bus.positions import Position
from astromesh_memory.runs.changes import Ended, Forgotten, Kind, Opened, Rated

_VERSION: Final = 2
"""Of the tables below. A file of another version is emptied, and filled again from the log."""

_TABLES: Final = """
CREATE TABLE applied (one INTEGER PRIMARY KEY CHECK (one = 1), position BLOB NOT NULL) STRICT;
CREATE TABLE open_run (run_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE run (
    run_id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    agent TEXT NOT NULL,
    session_key TEXT NOT NULL,
    user_key TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    position BLOB NOT NULL,
    time_unix_nano INTEGER NOT NULL,
    turn_index INTEGER NOT NULL,
    semantic INTEGER NOT NULL,
    episodic INTEGER NOT NULL,
    ratings INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE place (
    namespace TEXT NOT NULL, agent TEXT NOT NULL, kind TEXT NOT NULL, spec_json TEXT NOT NULL,
    confined INTEGER NOT NULL, PRIMARY KEY (namespace, agent, kind, spec_json, confined)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_of_agent ON run (namespace, agent, position);
CREATE INDEX run_of_owner ON run (namespace, agent, owner_key);
CREATE INDEX run_of_session ON run (namespace, session_key);
CREATE INDEX run_of_user ON run (namespace, user_key);
"""

_COLUMNS: Final = (
    "run_id, namespace, agent, session_key, user_key, owner_key, position, time_unix_nano, turn_index, semantic, "
    "episodic, ratings"
)
_APPLIED: Final = """
INSERT INTO applied VALUES (1, ?)
ON CONFLICT DO UPDATE SET position = max(position, excluded.position)
"""


class RunRow(NamedTuple):
    """A remembered run."""

    run_id: str
    namespace: str
    agent: str
    session_key: str
    user_key: str
    """The person whom the caller named, in the whole namespace; empty where it named nobody."""
    owner_key: str
    """The same person with this agent, as this API key names people."""
    position: bytes
    """Of the run's end."""
    time_unix_nano: int
    turn_index: int
    """Of the event that holds what was said; -1 where nothing came of it."""
    semantic: int
    episodic: int
    ratings: int
    """One more than the index of the session's event that said something of it last; 0 where nothing did."""

    @property
    def touched(self) -> Touched:
        """The run, as one of which something else is remembered now."""
        return Touched(self.namespace, self.agent, self.run_id, self.session_key, self.owner_key)

    def has(self, kind: Kind) -> bool:
        """Whether this kind of memory remembers it."""
        return bool(self.semantic if kind == "semantic" else self.episodic)


class KeptAt(NamedTuple):
    """Where one kind of memory of an agent lies, as it is, or was, declared."""

    namespace: str
    agent: str
    kind: str
    spec_json: str
    confined: int
    """It may name no folder outside the mesh's data folder."""


class Expired(NamedTuple):
    """A session with runs that are past their time."""

    session_key: str
    last_unix_nano: int
    """Of the youngest of them."""


class Touched(NamedTuple):
    """A run of which less, more or something else is remembered now."""

    namespace: str
    agent: str
    run_id: str
    session_key: str
    owner_key: str


LedgerChange: TypeAlias = Opened | RunRow | Ended | Rated | Forgotten
"""A run's row ends it; `Ended` stands for one of which nothing is remembered after all."""


class Ledger:
    """Remembered runs. The file is opened, or made, by the constructor; None keeps it in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection = _connected(path)
        if self._connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            self.drop()

    def drop(self) -> None:
        """Forgets everything, the position too: the log is read from its start next."""
        self._connection.close()
        if self._path is not None:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._connection = _connected(self._path)
        self._connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")

    def position(self) -> Position:
        """Returns how far the log is applied."""
        row = self._connection.execute("SELECT position FROM applied").fetchone()
        return Position.START if row is None else Position.decode(row[0])

    def open_runs(self) -> set[str]:
        """Returns the runs at work of which something will be remembered."""
        return {row[0] for row in self._connection.execute("SELECT run_id FROM open_run")}

    def apply(self, changes: Iterable[LedgerChange], position: Position) -> list[Touched]:
        """Applies changes in their order, and their position, in one transaction; answers the runs concerned."""
        touched = list[Touched]()
        with self._connection:
            for change in changes:
                match change:
                    case Opened(run_id):
                        self._connection.execute("INSERT OR IGNORE INTO open_run VALUES (?)", (run_id,))
                    case Ended():
                        self._close_run(change.aggregate.id)
                    case RunRow():
                        self._close_run(change.run_id)
                        self._insert([change])
                        touched.append(change.touched)
                    case Rated(run_id, index):
                        touched += self._update(f"ratings = max(ratings, {index + 1:d})", "run_id = ?", (run_id,))
                    case Forgotten():
                        touched += self._forget(change)
            self._connection.execute(_APPLIED, (position.encode(),))
        return touched

    def rows(self, namespace: str, agent: str) -> list[RunRow]:
        """Returns the agent's runs in the order of their ends."""
        return self._rows("namespace = ? AND agent = ? ORDER BY position, run_id", (namespace, agent))

    def row(self, run_id: str) -> RunRow | None:
        """Returns one run."""
        return next(iter(self._rows("run_id = ?", (run_id,))), None)

    def those(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        """Returns these of the runs that are remembered, by id."""
        return {row.run_id: row for row in self._rows("run_id IN (SELECT value FROM json_each(?))", (dumps(run_ids),))}

    def any(self, namespace: str, agent: str, kind: Kind, owner_key: str | None, session_key: str | None) -> bool:
        """Returns whether this kind of memory has a run of the agent; None: whosever it is, in whatever session."""
        where, values = f"namespace = ? AND agent = ? AND {kind} = 1", [namespace, agent]
        for column, key in (("owner_key", owner_key), ("session_key", session_key)):
            if key is not None:
                where, values = f"{where} AND {column} = ?", [*values, key]
        return self._connection.execute(f"SELECT 1 FROM run WHERE {where} LIMIT 1", values).fetchone() is not None

    def of_session(self, namespace: str, session_key: str) -> list[RunRow]:
        """Returns a session's runs in the order of their ends."""
        return self._rows("namespace = ? AND session_key = ? ORDER BY position, run_id", (namespace, session_key))

    def of_user(self, namespace: str, user_key: str) -> list[RunRow]:
        """Returns a person's runs with all agents in the order of their ends."""
        return self._rows("namespace = ? AND user_key = ? ORDER BY position, run_id", (namespace, user_key))

    def expired(self, namespace: str, agent: str, kind: Kind, until_unix_nano: int, most: int) -> list[Expired]:
        """Returns the sessions in which this kind of memory has runs of a time or an earlier one, the oldest first."""
        found = self._connection.execute(
            f"SELECT session_key, max(time_unix_nano) FROM run WHERE namespace = ? AND agent = ? AND {kind} = 1 "
            "AND time_unix_nano <= ? GROUP BY session_key ORDER BY 2, 1 LIMIT ?",
            (namespace, agent, until_unix_nano, most),
        )
        return [Expired(*row) for row in found.fetchall()]

    def replace(self, namespace: str, agent: str, rows: Sequence[RunRow], open_runs: Iterable[str]) -> None:
        """Makes these the agent's runs, in place of those it had; `open_runs` are its runs at work."""
        with self._connection:
            self._connection.executemany("INSERT OR IGNORE INTO open_run VALUES (?)", [(run,) for run in open_runs])
            self._connection.execute("DELETE FROM run WHERE namespace = ? AND agent = ?", (namespace, agent))
            self._insert(rows)

    def places(self) -> set[KeptAt]:
        """Returns every place in which something of an agent may lie."""
        return {KeptAt(*row) for row in self._connection.execute("SELECT * FROM place").fetchall()}

    def note_place(self, place: KeptAt) -> None:
        """Notes a place before anything is put there."""
        with self._connection:
            self._connection.execute("INSERT OR IGNORE INTO place VALUES (?, ?, ?, ?, ?)", place)

    def leave_place(self, place: KeptAt) -> None:
        """Notes that nothing is left there."""
        with self._connection:
            self._connection.execute(
                "DELETE FROM place WHERE (namespace, agent, kind, spec_json, confined) = (?, ?, ?, ?, ?)", place
            )

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _close_run(self, run_id: str) -> None:
        self._connection.execute("DELETE FROM open_run WHERE run_id = ?", (run_id,))

    def _insert(self, rows: Sequence[RunRow]) -> None:
        places = ", ".join("?" * len(RunRow._fields))
        self._connection.executemany(f"INSERT OR REPLACE INTO run ({_COLUMNS}) VALUES ({places})", rows)

    def _forget(self, change: Forgotten) -> list[Touched]:
        where, values = "namespace = ? AND session_key = ?", list[str | bytes | int](change[:2])
        if change.user_key:
            where, values = f"{where} AND user_key = ?", [*values, change.user_key]
        if change.until_unix_nano:
            where, values = f"{where} AND time_unix_nano <= ?", [*values, change.until_unix_nano]
        else:
            where, values = f"{where} AND position <= ?", [*values, change.position]
        touched = self._update(", ".join(f"{kind} = 0" for kind in change.kinds), where, values)
        self._connection.execute(f"DELETE FROM run WHERE {where} AND semantic = 0 AND episodic = 0", values)
        return touched

    def _update(self, what: str, where: str, values: Sequence[str | bytes | int]) -> list[Touched]:
        statement = f"UPDATE run SET {what} WHERE {where} RETURNING {', '.join(Touched._fields)}"
        return [Touched(*row) for row in self._connection.execute(statement, values).fetchall()]

    def _rows(self, condition: str, values: Sequence[str]) -> list[RunRow]:
        found = self._connection.execute(f"SELECT {_COLUMNS} FROM run WHERE {condition}", values).fetchall()
        return [RunRow(*row) for row in found]


def _connected(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    # Used from one thread, though not the one that opens it. Losing the last transactions to a power cut is harmless:
    # the position is lost with them.
    connection = sqlite3.connect(path or ":memory:", check_same_thread=False)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000"):
        connection.execute(f"PRAGMA {pragma}")
    return connection
