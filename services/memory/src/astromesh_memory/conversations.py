"""The conversations of all sessions, in SQLite: a projection of the log that can be deleted at any time and comes back.

Every method blocks and belongs to one thread; `projector` and `service` reach it through `database`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from astromesh.v1.run_events_pb2 import MemoryStored
from astromesh_core.bus.positions import Position
from astromesh_memory.changes import Change, Forgotten, Remembered

_VERSION: Final = 1
"""Of the tables below. A file of another version is emptied, and filled again from the log."""

_TABLES: Final = """
CREATE TABLE applied (one INTEGER PRIMARY KEY CHECK (one = 1), position BLOB NOT NULL) STRICT;
CREATE TABLE turn (
    namespace TEXT NOT NULL,
    session_key TEXT NOT NULL,
    position BLOB NOT NULL,
    event_index INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    time_unix_nano INTEGER NOT NULL,
    stored BLOB NOT NULL,
    PRIMARY KEY (namespace, session_key, position, event_index)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX turn_event ON turn (run_id, event_index);
CREATE TABLE forgotten (
    namespace TEXT NOT NULL,
    session_key TEXT NOT NULL,
    position BLOB NOT NULL,
    PRIMARY KEY (namespace, session_key)
) STRICT, WITHOUT ROWID;
"""

_REMEMBER: Final = """
INSERT INTO turn (namespace, session_key, agent, run_id, event_index, time_unix_nano, position, stored)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
WHERE NOT EXISTS (SELECT 1 FROM forgotten WHERE namespace = ?1 AND session_key = ?2 AND position >= ?7)
ON CONFLICT DO NOTHING
"""
_FORGET: Final = """
INSERT INTO forgotten VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET position = max(position, excluded.position)
"""
_DROP: Final = "DELETE FROM turn WHERE namespace = ?1 AND session_key = ?2 AND position <= ?3"
_APPLIED: Final = """
INSERT INTO applied VALUES (1, ?)
ON CONFLICT DO UPDATE SET position = max(position, excluded.position)
"""
_LAST: Final = """
SELECT run_id, time_unix_nano, stored, position, event_index FROM turn
WHERE namespace = ? AND session_key = ? ORDER BY position DESC, event_index DESC LIMIT ?
"""
_AFTER: Final = """
SELECT run_id, time_unix_nano, stored, position, event_index FROM turn
WHERE namespace = ? AND session_key = ? AND (position, event_index) > (?, ?)
ORDER BY position, event_index LIMIT ?
"""


class Place(NamedTuple):
    """A turn's place in its session."""

    position: bytes
    event_index: int


class Turn(NamedTuple):
    """What one run left in its session."""

    run_id: str
    time_unix_nano: int
    stored: MemoryStored
    place: Place


class Conversations:
    """Turns by session. The file is opened, or made, by the constructor."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._connection = self._open()
        if self._connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            self.drop()

    def drop(self) -> None:
        """Forgets everything, the position too: the log is read from its start next."""
        self._connection.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._connection = self._open()
        self._connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")

    def position(self) -> Position:
        """Returns how far the log is applied."""
        row = self._connection.execute("SELECT position FROM applied").fetchone()
        return Position.START if row is None else Position.decode(row[0])

    def apply(self, changes: Iterable[Change], position: Position) -> None:
        """Applies changes and their position in one transaction. Applying any of them again adds nothing."""
        with self._connection:
            for change in changes:
                match change:
                    case Remembered():
                        self._connection.execute(_REMEMBER, change)
                    case Forgotten():
                        self._connection.execute(_FORGET, change)
                        self._connection.execute(_DROP, change)
            self._connection.execute(_APPLIED, (position.encode(),))

    def last(self, namespace: str, session_key: str, most: int) -> list[Turn]:
        """Returns the session's last turns, oldest first."""
        rows = self._connection.execute(_LAST, (namespace, session_key, most)).fetchall()
        return [_turn(row) for row in reversed(rows)]

    def after(self, namespace: str, session_key: str, place: Place, most: int) -> list[Turn]:
        """Returns the turns that follow a place, oldest first."""
        rows = self._connection.execute(_AFTER, (namespace, session_key, *place, most)).fetchall()
        return [_turn(row) for row in rows]

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        # Used from one thread, though not the one that opens it. Losing the last transactions to a power cut is
        # harmless: the position is lost with them. What is forgotten is overwritten, not only unlinked.
        connection = sqlite3.connect(self._path, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON", "busy_timeout = 5000"):
            connection.execute(f"PRAGMA {pragma}")
        return connection


def _turn(row: tuple[str, int, bytes, bytes, int]) -> Turn:
    run_id, time_unix_nano, stored, position, index = row
    return Turn(run_id, time_unix_nano, MemoryStored.FromString(stored), Place(position, index))
