"""Asking PostgreSQL in a transaction that is READ ONLY, with a time of its own. Needs the extra `postgres`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Final, cast

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow
from pydantic import JsonValue

from astromesh_core.errors import Denied, TimedOut
from astromesh_core.postgres.database import Database, Session
from astromesh_core.postgres.failures import reason_of
from astromesh_core.resources.connections import BackendAddress
from astromesh_tools.builtin.sql_query import refused

if TYPE_CHECKING:
    from astromesh_tools.builtin.sql_query import Rows

_SCHEMA: Final = b"""
SELECT table_schema, table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1000
"""


async def read(address: BackendAddress, query: str, params: Sequence[JsonValue], rows: Rows, seconds: float) -> object:
    """The rows of a query; the schema for an empty one. Raises Denied, TimedOut, Unavailable, and InvalidInput in
    PostgreSQL's words."""
    database = Database(address, size=1)
    try:
        async with database.transaction(seconds=seconds, one_state=True) as connection:
            with _told(seconds):
                return await _answer(connection, query, params, rows, seconds)
    finally:
        await database.close()


@contextmanager
def _told(seconds: float) -> Generator[None]:
    """What is wrong with a query, in words for a model. A lost connection is told by whoever made it."""
    try:
        yield
    except errors.QueryCanceled as error:
        raise TimedOut(f"the query did not end within {seconds:g} s; ask for less") from error
    except (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege) as error:
        raise Denied(f"query: {reason_of(error)}") from error
    except (psycopg.OperationalError, psycopg.InterfaceError):
        raise
    except psycopg.Error as error:
        raise refused(reason_of(error)) from error


async def _answer(connection: Session, query: str, params: Sequence[JsonValue], rows: Rows, seconds: float) -> object:
    # A little less than the deadline, so that the server says what it was.
    limit = str(max(round(seconds * 900), 1))
    await connection.execute("SELECT set_config('statement_timeout', %s, true)", (limit,))
    cursor = connection.cursor()
    if not query:
        tables = cast("list[tuple[str, str, str]]", await (await cursor.execute(_SCHEMA)).fetchall())
        return "\n".join(f"{schema}.{name}({columns})" for schema, name, columns in tables) or "[there are no tables]"
    # A stream speaks the extended protocol, which takes one statement alone, and never holds more than a row.
    stream = cast("AsyncGenerator[TupleRow]", cursor.stream(query.encode(), list(params) or None))
    async with aclosing(stream):
        async for row in stream:
            rows.columns = rows.columns or [column.name for column in cursor.description or ()]
            if not rows.take(row):
                break
    return rows.answer()
