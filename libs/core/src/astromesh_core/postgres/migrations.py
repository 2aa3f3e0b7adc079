"""Brings a component's tables to the version that this release needs, once, however many replicas start together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from psycopg import sql

from astromesh_core.errors import Conflict
from astromesh_core.postgres.database import Database, Session

SCHEMA = "astromesh"
"""Where all our tables stand."""

Statement: TypeAlias = sql.SQL | sql.Composed

MIGRATION_SECONDS = 600.0

_LOCK = 4_270_197_536
"""Number of the advisory lock that whoever changes tables of ours holds."""

_MAKE_SCHEMA = sql.SQL("CREATE SCHEMA astromesh")
_MAKE_TABLE = sql.SQL(
    "CREATE TABLE astromesh.migrations (component text NOT NULL, version integer NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (component, version))"
)
_VERSION = sql.SQL("SELECT coalesce(max(version), 0) FROM astromesh.migrations WHERE component = %s")
_NOTE = sql.SQL("INSERT INTO astromesh.migrations (component, version) VALUES (%s, %s)")
_HAS_SCHEMA = sql.SQL("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'astromesh')")
_HAS_TABLE = sql.SQL(
    "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'astromesh' AND c.relname = 'migrations')"
)


async def migrate(database: Database, component: str, steps: Sequence[Sequence[Statement]]) -> None:
    """Applies the steps that the database does not have yet, all of them or none. Idempotent.

    The n-th step makes version n; a step that was released never changes. Needs no right to create where nothing is to
    be done. Raises Unavailable, and Conflict where a newer release has been here.
    """
    async with database.connection() as connection:
        if await _version(connection, component) == len(steps):
            return
    async with exclusively(database) as connection:
        await _prepare(connection)
        have = await _version(connection, component)
        if have > len(steps):
            newer = (
                f"the tables of {component} at {database.shown} are of version {have}, this release has {len(steps)}"
            )
            raise Conflict(f"{newer}: run the newer release")
        for version, statements in enumerate(steps[have:], have + 1):
            for statement in statements:
                await connection.execute(statement)
            await connection.execute(_NOTE, (component, version))


@asynccontextmanager
async def exclusively(database: Database) -> AsyncGenerator[Session]:
    """A transaction in which nobody else changes tables of ours.

    It begins with the lock: what a session has looked up before it, PostgreSQL may answer from its cache.
    """
    async with database.transaction(seconds=MIGRATION_SECONDS) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield connection


async def _prepare(connection: Session) -> None:
    # Asked for what is there already, PostgreSQL would still want the right to make it.
    if not await _holds(connection, _HAS_SCHEMA):
        await connection.execute(_MAKE_SCHEMA)
    if not await _holds(connection, _HAS_TABLE):
        await connection.execute(_MAKE_TABLE)


async def _version(connection: Session, component: str) -> int:
    if not await _holds(connection, _HAS_TABLE):
        return 0
    row = await (await connection.execute(_VERSION, (component,))).fetchone()
    return 0 if row is None else int(row[0])


async def _holds(connection: Session, question: sql.SQL) -> bool:
    row = await (await connection.execute(question)).fetchone()
    return row is not None and bool(row[0])
