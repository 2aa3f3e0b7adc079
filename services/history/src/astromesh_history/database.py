"""The SQLite file of the read model and the one thread that touches it. What is written and read stands elsewhere."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from astromesh_core.errors import Unavailable
from astromesh_core.telemetry.logs import logger
from astromesh_history.schema import TABLES, VERSION

RETRY_SECONDS = 1.0
FILE = "history.sqlite"

T = TypeVar("T")
P = ParamSpec("P")

_log = logger(__name__)


class Database:
    """Runs calls on the connection one after the other, in a thread of its own. The caller closes it."""

    def __init__(self, connection: sqlite3.Connection, pool: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._pool = pool

    @classmethod
    async def open(cls, folder: Path) -> Database:
        """Opens the file in the folder. One of another version or beyond reading is put aside, and a new one begun.

        Raises Unavailable where the folder cannot be written.
        """
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(pool, _open, folder)
        except (OSError, sqlite3.Error) as error:
            pool.shutdown(wait=False)
            raise Unavailable(f"the read model in {folder} cannot be opened: {error}") from error
        return cls(connection, pool)

    async def call(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, after everything that was handed in before. Raises what it raises.

        Raises Unavailable where the file cannot be used for now: locked, disk full.
        """

        def guarded() -> T:
            try:
                return work(self._connection, *args, **kwargs)
            except sqlite3.OperationalError as error:
                raise Unavailable(f"the read model cannot be used: {error}", retry_after=RETRY_SECONDS) from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, guarded)

    async def aclose(self) -> None:
        """Waits for the calls handed in so far and closes the file."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._connection.close)
        self._pool.shutdown(wait=False)


def _open(folder: Path) -> sqlite3.Connection:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    try:
        connection = _connected(path)
        if connection.execute("PRAGMA user_version").fetchone()[0] in (0, VERSION):
            return _prepared(connection)
        connection.close()
        reason = "it has another version"
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        reason = str(error)
    _log.warning("the read model is built again from the log", file=str(path), reason=reason)
    _put_aside(path)
    return _prepared(_connected(path))


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL: a power cut may lose the last transactions whole, and the log still has what they held.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -8000")
    return connection


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        connection.executescript(f"BEGIN;{TABLES};PRAGMA user_version = {VERSION};COMMIT;")
    return connection


def _put_aside(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.replace(path.with_name(f"{path.name}.aside-{time.time_ns()}"))
