"""Opens a collection: pgvector, our tables and the collection's own, each made where it is missing.

Whatever changes tables holds the advisory lock of the migrations, so replicas that start together make them once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import errors
from psycopg.sql import SQL, Identifier

from astromesh_core.errors import Conflict, InvalidInput, Unavailable
from astromesh_core.postgres.database import Database, Session
from astromesh_core.postgres.migrations import MIGRATION_SECONDS, SCHEMA, lock, migrate
from astromesh_vectors.pgvector_store.tables import (
    COMPONENT,
    MIGRATIONS,
    MOST_DIMENSIONS,
    MOST_INDEXED,
    OPERATORS,
    Metric,
    Tables,
)

LEAST_VERSION: Final = (0, 8)
"""Of pgvector: the first whose index goes on searching when a filter leaves too few."""

RETRY_SECONDS: Final = 5.0
_BUILD_MEMORY: Final = "256MB"

_EXTENSION = SQL(
    "SELECT e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
    " WHERE e.extname = 'vector'"
)
_VECTOR_TYPE = SQL(
    "SELECT t.oid, t.typarray FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
    " WHERE t.typname = 'vector' AND n.nspname = %s"
)
_FIND = SQL("SELECT id, model, dimension FROM astromesh.vector_collections WHERE name = %s")
_ADD = SQL("INSERT INTO astromesh.vector_collections (name, model, dimension) VALUES (%s, %s, %s) RETURNING id")
_INDEXES = SQL("SELECT indexname FROM pg_indexes WHERE schemaname = %s AND indexname = ANY (%s)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A collection as it is asked for. `name` is anybody's text."""

    name: str
    model: str
    dimension: int
    metric: Metric


@dataclass(frozen=True, slots=True)
class Extension:
    """pgvector as the database has it: its schema, and the numbers of its type and that type's arrays."""

    schema: str
    type_number: int
    array_number: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection that can be used."""

    tables: Tables
    extension: Extension


async def open_collection(database: Database, wanted: Wanted) -> Collection:
    """The collection, made where it was not there. Idempotent.

    Raises Conflict where it keeps vectors of another model or dimension, Unavailable, with what to run, where the
    database lacks pgvector or the user a right.
    """
    if wanted.dimension > MOST_DIMENSIONS:
        raise InvalidInput(f"pgvector keeps vectors of at most {MOST_DIMENSIONS} dimensions, not {wanted.dimension}")
    extension = await _extension(database)
    await migrate(database, COMPONENT, MIGRATIONS)
    async with database.transaction(seconds=MIGRATION_SECONDS) as session:
        number = await _number(session, wanted, database.shown)
        if number is None:
            await lock(session)
            number = await _number(session, wanted, database.shown)
        if number is None:
            number = await _make(session, wanted, extension)
        tables = Tables(number, extension.schema, wanted.metric)
        if wanted.dimension <= MOST_INDEXED:
            await _index(session, tables)
        return Collection(tables, extension)


async def _extension(database: Database) -> Extension:
    async with database.transaction(seconds=MIGRATION_SECONDS) as session:
        found = await (await session.execute(_EXTENSION)).fetchone()
        if found is None:
            await lock(session)
            await _create_extension(session, database.shown)
            found = await (await session.execute(_EXTENSION)).fetchone()
        assert found is not None
        version, schema = str(found[0]), str(found[1])
        if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
            message = (
                f"pgvector at {database.shown} is {version}, and 0.8 is needed: install it on the server, then run"
            )
            raise Unavailable(f"{message} ALTER EXTENSION vector UPDATE", retry_after=RETRY_SECONDS)
        numbers = await (await session.execute(_VECTOR_TYPE, (schema,))).fetchone()
        assert numbers is not None
        return Extension(schema, int(numbers[0]), int(numbers[1]))


async def _create_extension(session: Session, shown: str) -> None:
    try:
        async with session.transaction():
            await session.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except errors.InsufficientPrivilege as error:
        message = f"the database {shown} has no pgvector, and this user may not create it: as a superuser run there"
        raise Unavailable(f"{message} CREATE EXTENSION vector", retry_after=RETRY_SECONDS) from error
    except (errors.FeatureNotSupported, errors.UndefinedFile) as error:
        message = (
            f"PostgreSQL at {shown} has no pgvector: install it on the server (https://github.com/pgvector/pgvector)"
        )
        raise Unavailable(f"{message}, then run CREATE EXTENSION vector", retry_after=RETRY_SECONDS) from error


async def _number(session: Session, wanted: Wanted, shown: str) -> int | None:
    row = await (await session.execute(_FIND, (wanted.name,))).fetchone()
    if row is None:
        return None
    number, model, dimension = row
    if (model, dimension) != (wanted.model, wanted.dimension):
        raise Conflict(
            f"the collection {wanted.name!r} at {shown} holds vectors of {model} with {dimension} dimensions, asked for"
            f" are {wanted.model} with {wanted.dimension}; use another collection, or remove it and ingest anew"
        )
    return int(number)


async def _make(session: Session, wanted: Wanted, extension: Extension) -> int:
    row = await (await session.execute(_ADD, (wanted.name, wanted.model, wanted.dimension))).fetchone()
    assert row is not None
    tables = Tables(int(row[0]), extension.schema, wanted.metric)
    for statement in tables.making(wanted.dimension):
        await session.execute(statement)
    return tables.number


async def _index(session: Session, tables: Tables) -> None:
    """Leaves the index of this metric alone: one of another is not searched any more, and costs each change."""
    names = [tables.index(metric) for metric in OPERATORS]
    rows = await (await session.execute(_INDEXES, (SCHEMA, names))).fetchall()
    there = {str(name) for (name,) in rows}
    if tables.index(tables.metric) not in there:
        await lock(session)
        await session.execute("SELECT set_config('maintenance_work_mem', %s, true)", (_BUILD_MEMORY,))
        await session.execute(tables.making_index())
    for name in sorted(there - {tables.index(tables.metric)}):
        await session.execute(SQL("DROP INDEX IF EXISTS {}").format(Identifier(SCHEMA, name)))
