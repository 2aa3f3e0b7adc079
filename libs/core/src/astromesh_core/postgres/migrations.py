"""Brings a component's tables to the version that this release needs, once, however many replicas start together."""

from __future__ import annotations

from collections.abc import Sequence
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

_PREPARE: tuple[sql.SQL, ...] = (
    sql.SQL("CREATE SCHEMA IF NOT EXISTS astromesh"),
    sql.SQL(
        "CREATE TABLE IF NOT EXISTS astromesh.migrations (component text NOT NULL, version integer NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (component, version))"
    ),
)
_VERSION = sql.SQL("SELECT coalesce(max(version), 0) FROM astromesh.migrations WHERE component = %s")
_NOTE = sql.SQL("INSERT INTO astromesh.migrations (component, version) VALUES (%s, %s)")
_HAS_SCHEMA = sql.SQL("SELECT to_regclass('astromesh.migrations') IS NOT NULL")


async def migrate(database: Database, component: str, steps: Sequence[Sequence[Statement]]) -> None:
    """Applies the steps that the database does not have yet, all of them or none. Idempotent.

    The n-th step makes version n; a step that was released never changes. Needs no right to create where nothing is to
    be done. Raises Unavailable, and Conflict where a newer release has been here.
    """
    async with database.transaction(seconds=MIGRATION_SECONDS) as connection:
        if await _version(connection, component) == len(steps):
            return
        await lock(connection)
        if not await _prepared(connection):
            for statement in _PREPARE:
                await connection.execute(statement)
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


async def lock(connection: Session) -> None:
    """Waits until nobody else changes tables of ours, and keeps others from it until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


async def _version(connection: Session, component: str) -> int:
    if not await _prepared(connection):
        return 0
    row = await (await connection.execute(_VERSION, (component,))).fetchone()
    return 0 if row is None else int(row[0])


async def _prepared(connection: Session) -> bool:
    row = await (await connection.execute(_HAS_SCHEMA)).fetchone()
    return row is not None and bool(row[0])
