"""Asking an SQLite file, opened to be read. Its authorizer lets reading through, and neither ATTACH nor PRAGMA."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from pydantic import JsonValue

from astromesh_core.errors import Denied, NotFound, TimedOut
from astromesh_tools.builtin.sql_query import refused

if TYPE_CHECKING:
    from astromesh_tools.builtin.sql_query import Rows

MOST_VALUE_BYTES: Final = 4 * 1024 * 1024
"""Of one text or blob, stored or computed."""

STEPS: Final = 10_000
"""Of SQLite's machine between two looks at the clock."""

_READING: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_SCHEMA: Final = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'view') ORDER BY name"


def read(path: Path, query: str, params: Sequence[JsonValue], rows: Rows, seconds: float) -> object:
    """The rows of a query; the schema for an empty one. Blocks for so many seconds at most.

    Raises NotFound, Denied, TimedOut, and InvalidInput in SQLite's words.
    """
    if not path.is_file():
        raise NotFound(f"there is no database {path.name}")
    end = time.monotonic() + seconds
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=min(seconds, 5))) as connection:
            _confine(connection, end)
            return _answer(connection, query, params, rows)
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        if "interrupted" in str(error):
            raise TimedOut(f"the query did not end within {seconds:g} s; ask for less") from error
        if "not authorized" in str(error) or "prohibited" in str(error):
            raise Denied("query: it does more than read tables") from error
        raise refused(error) from error


def _confine(connection: sqlite3.Connection, end: float) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_progress_handler(lambda: int(time.monotonic() > end), STEPS)
    connection.set_authorizer(_judge)


def _judge(action: int, _: str | None, name: str | None, *__: str | None) -> int:
    allowed = action in _READING and not (action == sqlite3.SQLITE_FUNCTION and name == "load_extension")
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _answer(connection: sqlite3.Connection, query: str, params: Sequence[JsonValue], rows: Rows) -> object:
    if not query:
        tables = cast("list[tuple[str]]", connection.execute(_SCHEMA).fetchall())
        return ";\n\n".join(sql for (sql,) in tables) or "[the database has no tables]"
    cursor = connection.execute(query, cast("list[str | int | float | None]", list(params)))
    rows.columns = [str(column[0]) for column in cursor.description or ()]
    for row in cursor:
        if not rows.take(row):
            break
    return rows.answer()
