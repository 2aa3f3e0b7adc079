"""Episodes in a SQLite file of this service. An `EpisodeStore`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from astromesh_core.errors import Unavailable
from astromesh_memory.episodes.ports import KeptEpisode
from astromesh_memory.runs.scopes import Among

RETRY_SECONDS: Final = 1.0
_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE episode (
    namespace TEXT NOT NULL, agent TEXT NOT NULL, run_id TEXT NOT NULL, session_key TEXT NOT NULL,
    owner_key TEXT NOT NULL, time_unix_nano INTEGER NOT NULL, version BLOB NOT NULL, vector BLOB NOT NULL,
    episode BLOB NOT NULL, PRIMARY KEY (namespace, agent, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX episode_of_owner ON episode (namespace, agent, owner_key, time_unix_nano);
CREATE INDEX episode_of_session ON episode (namespace, agent, session_key, time_unix_nano);
CREATE INDEX episode_by_time ON episode (namespace, agent, time_unix_nano);
"""
_COLUMNS: Final = ", ".join(KeptEpisode._fields)

Value = TypeVar("Value")


class SqliteEpisodes:
    """One file. Opened, or made, by the first call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="episodes")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def versions(self, namespace: str, agent: str) -> Mapping[str, bytes]:
        """See the port, as for all that follows."""
        statement = "SELECT run_id, version FROM episode WHERE namespace = ? AND agent = ?"
        return await self._call(lambda file: dict(file.execute(statement, (namespace, agent)).fetchall()))

    async def put(self, episode: KeptEpisode) -> None:
        places = ", ".join("?" * len(KeptEpisode._fields))
        statement = f"INSERT OR REPLACE INTO episode ({_COLUMNS}) VALUES ({places})"
        await self._call(lambda file: file.execute(statement, episode))

    async def remove(self, namespace: str, agent: str, run_ids: Sequence[str]) -> None:
        statement = (
            "DELETE FROM episode WHERE namespace = ? AND agent = ? AND run_id IN (SELECT value FROM json_each(?))"
        )
        await self._call(lambda file: file.execute(statement, (namespace, agent, json.dumps(list(run_ids)))))

    async def last(
        self, namespace: str, agent: str, among: Among, limit: int, since_unix_nano: int = 0
    ) -> list[KeptEpisode]:
        conditions, values = ["namespace = ?", "agent = ?"], list[str | int]((namespace, agent))
        for column, key in (("owner_key", among.owner_key), ("session_key", among.session_key)):
            if key is not None:
                conditions.append(f"{column} = ?")
                values.append(key)
        statement = (
            f"SELECT {_COLUMNS} FROM episode WHERE {' AND '.join(conditions)} AND time_unix_nano > ? "
            "ORDER BY time_unix_nano DESC, run_id DESC LIMIT ?"
        )
        values += [since_unix_nano, limit]
        return await self._call(lambda file: [KeptEpisode(*row) for row in file.execute(statement, values)])

    async def those(self, namespace: str, agent: str, run_ids: Sequence[str]) -> list[KeptEpisode]:
        statement = (
            f"SELECT {_COLUMNS} FROM episode WHERE namespace = ? AND agent = ? "
            "AND run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id"
        )
        values = (namespace, agent, json.dumps(list(run_ids)))
        return await self._call(lambda file: [KeptEpisode(*row) for row in file.execute(statement, values)])

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[[sqlite3.Connection], Value]) -> Value:
        if self._closed:
            raise Unavailable(f"the episodes in {self._path.name} are closed")

        def guarded() -> Value:
            try:
                with self._opened() as file:
                    return work(file)
            except sqlite3.OperationalError as error:
                message = f"the episodes in {self._path.name} cannot be used: {error}"
                raise Unavailable(message, retry_after=RETRY_SECONDS) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, check_same_thread=False)
            # What is forgotten is overwritten, not only unlinked.
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON", "busy_timeout = 5000"):
                connection.execute(f"PRAGMA {pragma}")
            if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                drop = "DROP TABLE IF EXISTS episode;"
                connection.executescript(f"BEGIN; {drop} {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
