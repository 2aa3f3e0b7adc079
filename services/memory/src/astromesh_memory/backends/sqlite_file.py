"""The conversations in one SQLite file, as blocking calls of one thread. `sqlite` makes the port of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from astromesh_core.conversations import (
    Advance,
    AgentKey,
    Change,
    Forgotten,
    Place,
    Recalled,
    Remembered,
    Session,
    Summarised,
    Summary,
    Turn,
)

_VERSION: Final = 2
"""Of the tables below. A file of another version is emptied, and filled again from the log."""

_TABLES: Final = """
CREATE TABLE agent (
    namespace TEXT NOT NULL, agent TEXT NOT NULL, position BLOB NOT NULL, PRIMARY KEY (namespace, agent)
) STRICT, WITHOUT ROWID;
CREATE TABLE session (
    namespace TEXT NOT NULL, session_key TEXT NOT NULL, agent TEXT NOT NULL, session_id BLOB NOT NULL,
    turns INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (namespace, session_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_used ON session (namespace, agent, last, session_key);
CREATE TABLE turn (
    namespace TEXT NOT NULL, session_key TEXT NOT NULL, position BLOB NOT NULL, event_index INTEGER NOT NULL,
    agent TEXT NOT NULL, run_id TEXT NOT NULL, time_unix_nano INTEGER NOT NULL, user_key TEXT NOT NULL,
    session_id BLOB NOT NULL, stored BLOB NOT NULL, PRIMARY KEY (namespace, session_key, position, event_index)
) STRICT, WITHOUT ROWID;
CREATE INDEX turn_user ON turn (namespace, user_key) WHERE user_key <> '';
CREATE TABLE summary (
    namespace TEXT NOT NULL, session_key TEXT NOT NULL, agent TEXT NOT NULL, position BLOB NOT NULL,
    event_index INTEGER NOT NULL, through_run_id TEXT NOT NULL, time_unix_nano INTEGER NOT NULL, text BLOB NOT NULL,
    PRIMARY KEY (namespace, session_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE forgotten (
    namespace TEXT NOT NULL, session_key TEXT NOT NULL, user_key TEXT NOT NULL, agent TEXT NOT NULL,
    position BLOB NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (namespace, session_key, user_key)
) STRICT, WITHOUT ROWID;
"""
_FOLLOWED: Final = "EXISTS (SELECT 1 FROM agent WHERE namespace = :namespace AND agent = :agent)"
_REMEMBER: Final = f"""
INSERT INTO turn SELECT :namespace, :session_key, :position, :event_index, :agent, :run_id, :time_unix_nano, :user_key,
    :session_id, :stored
WHERE {_FOLLOWED} AND NOT EXISTS (
    SELECT 1 FROM forgotten WHERE namespace = :namespace AND session_key = :session_key
    AND user_key IN ('', :user_key) AND (position >= :position OR until >= :time_unix_nano))
ON CONFLICT DO NOTHING
"""
_SUMMARISE: Final = f"""
INSERT INTO summary SELECT :namespace, :session_key, :agent, :position, :event_index, :through_run_id,
    :time_unix_nano, :text
WHERE {_FOLLOWED} AND NOT EXISTS (
    SELECT 1 FROM forgotten WHERE namespace = :namespace AND session_key = :session_key
    AND (position >= :position OR until >= :time_unix_nano))
ON CONFLICT DO UPDATE SET position = excluded.position, event_index = excluded.event_index,
    through_run_id = excluded.through_run_id, time_unix_nano = excluded.time_unix_nano, text = excluded.text
WHERE (excluded.position, excluded.event_index) > (position, event_index)
"""
_FORGET: Final = f"""
INSERT INTO forgotten SELECT :namespace, :session_key, :user_key, :agent, :position, :until_unix_nano WHERE {_FOLLOWED}
ON CONFLICT DO UPDATE SET position = max(position, excluded.position), until = max(until, excluded.until)
"""
_DROP_TURNS: Final = """
DELETE FROM turn WHERE namespace = :namespace AND session_key = :session_key AND agent = :agent
AND (position <= :position OR time_unix_nano <= :until_unix_nano) AND :user_key IN ('', user_key)
"""
_DROP_SUMMARY: Final = """
DELETE FROM summary WHERE namespace = :namespace AND session_key = :session_key AND agent = :agent
AND (position <= :position OR time_unix_nano <= :until_unix_nano)
"""
_JOIN_SESSION: Final = """
INSERT INTO session VALUES (:namespace, :session_key, :agent, :session_id, 1, :time_unix_nano, :time_unix_nano)
ON CONFLICT DO UPDATE SET turns = turns + 1, first = min(first, excluded.first), last = max(last, excluded.last),
    session_id = max(session_id, excluded.session_id)
"""
_COUNT_SESSION: Final = """
INSERT INTO session SELECT namespace, session_key, agent, max(session_id), count(*), min(time_unix_nano),
    max(time_unix_nano)
FROM turn WHERE namespace = :namespace AND session_key = :session_key GROUP BY namespace, session_key
"""
_DROP_SESSION: Final = "DELETE FROM session WHERE namespace = :namespace AND session_key = :session_key"
_ADVANCE: Final = """
UPDATE agent SET position = ?4 WHERE namespace = ?1 AND agent = ?2 AND position >= ?3 AND position < ?4
"""
_POSITION: Final = "SELECT position FROM agent WHERE namespace = ? AND agent = ?"
_TURN: Final = "SELECT run_id, time_unix_nano, user_key, stored, position, event_index FROM turn"
_LAST: Final = f"{_TURN} WHERE namespace = ? AND session_key = ? ORDER BY position DESC, event_index DESC LIMIT ?"
_PAGE: Final = f"""
{_TURN} WHERE namespace = ? AND session_key = ? AND (position, event_index) > (?, ?)
ORDER BY position, event_index LIMIT ?
"""
_SUMMARY: Final = "SELECT through_run_id, time_unix_nano, text FROM summary WHERE namespace = ? AND session_key = ?"
_SESSION: Final = "SELECT session_key, agent, session_id, turns, first, last FROM session"
_SESSIONS: Final = f"""
{_SESSION} WHERE namespace = ? AND agent = ? AND (last, session_key) < (?, ?)
ORDER BY last DESC, session_key DESC LIMIT ?
"""
_IDLE: Final = f"{_SESSION} WHERE namespace = ? AND agent = ? AND last <= ? ORDER BY last, session_key LIMIT ?"
_OF_USER: Final = f"""
{_SESSION} WHERE namespace = ?1 AND session_key IN (
    SELECT session_key FROM turn WHERE namespace = ?1 AND user_key = ?2 AND user_key <> '')
ORDER BY agent, session_key
"""
_LATEST: Final = (2**63 - 1, "\U0010ffff")


class ConversationFile:
    """The file is opened, or made, by the constructor."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._connection = self._open()
        if not self._is_ours():
            self._start_anew()

    def followed(self) -> dict[AgentKey, bytes]:
        """See the port, as for all that follows."""
        rows = self._connection.execute("SELECT namespace, agent, position FROM agent")
        return {AgentKey(namespace, agent): position for namespace, agent, position in rows}

    def follow(self, agent: AgentKey, position: bytes) -> None:
        with self._connection:
            self._connection.execute("INSERT INTO agent VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (*agent, position))

    def apply(self, changes: Iterable[Change], advances: Iterable[Advance]) -> list[AgentKey]:
        with self._connection:
            for change in changes:
                self._apply(change)
            return [advance.agent for advance in advances if not self._advance(advance)]

    def last(self, agent: AgentKey, session_key: str, most: int) -> Recalled:
        # Nobody writes in between: this is the only thread, and its process the only one.
        rows = self._connection.execute(_LAST, (agent.namespace, session_key, most)).fetchall()
        row = self._connection.execute(_SUMMARY, (agent.namespace, session_key)).fetchone()
        turns = [_turn(row) for row in reversed(rows)]
        return Recalled(self._position(agent), turns, None if row is None else Summary(*row))

    def page(self, namespace: str, session_key: str, after: Place, most: int) -> list[Turn]:
        return [_turn(row) for row in self._connection.execute(_PAGE, (namespace, session_key, *after, most))]

    def sessions(self, agent: AgentKey, before: tuple[int, str] | None, most: int) -> Sequence[Session]:
        rows = self._connection.execute(_SESSIONS, (*agent, *(before or _LATEST), most))
        return [Session(*row) for row in rows]

    def idle(self, agent: AgentKey, until_unix_nano: int, most: int) -> Sequence[Session]:
        return [Session(*row) for row in self._connection.execute(_IDLE, (*agent, until_unix_nano, most))]

    def of_user(self, namespace: str, user_key: str) -> Sequence[Session]:
        return [Session(*row) for row in self._connection.execute(_OF_USER, (namespace, user_key))]

    def drop(self, agent: AgentKey) -> None:
        with self._connection:
            for table in ("agent", "session", "turn", "summary", "forgotten"):
                self._connection.execute(f"DELETE FROM {table} WHERE namespace = ? AND agent = ?", agent)

    def close(self) -> None:
        self._connection.close()

    def _apply(self, change: Change) -> None:
        values = change._asdict()
        match change:
            case Remembered():
                if self._connection.execute(_REMEMBER, values).rowcount:
                    self._connection.execute(_JOIN_SESSION, values)
            case Summarised():
                self._connection.execute(_SUMMARISE, values)
            case Forgotten():
                self._connection.execute(_FORGET, values)
                self._connection.execute(_DROP_SUMMARY, values)
                if self._connection.execute(_DROP_TURNS, values).rowcount:
                    self._connection.execute(_DROP_SESSION, values)
                    self._connection.execute(_COUNT_SESSION, values)

    def _advance(self, advance: Advance) -> bool:
        if self._connection.execute(_ADVANCE, (*advance.agent, advance.after, advance.upto)).rowcount:
            return True
        position = self._position(advance.agent)
        return position is not None and position >= advance.after

    def _position(self, agent: AgentKey) -> bytes | None:
        row = self._connection.execute(_POSITION, agent).fetchone()
        return None if row is None else row[0]

    def _is_ours(self) -> bool:
        """Sets the connection up. False for a file of another version, and for what is no database."""
        # Losing the last transactions to a power cut is harmless: the position is lost with them. What is forgotten is
        # overwritten, not only unlinked.
        try:
            for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            return self._connection.execute("PRAGMA user_version").fetchone()[0] == _VERSION
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False

    def _start_anew(self) -> None:
        self._connection.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._connection = self._open()
        self._is_ours()
        self._connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")

    def _open(self) -> sqlite3.Connection:
        # Used from one thread, though not the one that opens it.
        return sqlite3.connect(self._path, check_same_thread=False)


def _turn(row: tuple[str, int, str, bytes, bytes, int]) -> Turn:
    run_id, time_unix_nano, user_key, stored, position, index = row
    return Turn(run_id, time_unix_nano, user_key, stored, Place(position, index))
