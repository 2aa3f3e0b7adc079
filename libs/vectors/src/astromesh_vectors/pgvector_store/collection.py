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
from astromesh_core.postgres.migrations import SCHEMA, exclusively, migrate
from astromesh_vectors.pgvector_store.rows import stored
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

_BUILDING = SQL(
    "SELECT set_config('maintenance_work_mem', '256MB', true),"
    " set_config('max_parallel_maintenance_workers', '0', true)"
)
"""Several workers would build it in shared memory, of which a container has 64 MB."""

_EXTENSION = SQL(
    "SELECT e.extversion, n.nspname, t.oid, t.typarray FROM pg_extension e"
    " JOIN pg_namespace n ON n.oid = e.extnamespace"
    " JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = 'vector' WHERE e.extname = 'vector'"
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
    async with database.connection() as session:
        number = await _number(session, wanted, database.shown)
        if number is not None:
            tables = Tables(number, extension.schema, wanted.metric)
            if await _indexes(session, tables) == _wanted_indexes(tables, wanted):
                return Collection(tables, extension)
    async with exclusively(database) as session:
        number = await _number(session, wanted, database.shown)
        if number is None:
            number = await _make(session, wanted, extension)
        tables = Tables(number, extension.schema, wanted.metric)
        await _index(session, tables, _wanted_indexes(tables, wanted))
        return Collection(tables, extension)


async def _extension(database: Database) -> Extension:
    async with database.connection() as session:
        found = await _found_extension(session, database.shown)
    if found is None:
        async with exclusively(database) as session:
            await _create_extension(session, database.shown)
            found = await _found_extension(session, database.shown)
    assert found is not None
    return found


async def _found_extension(session: Session, shown: str) -> Extension | None:
    row = await (await session.execute(_EXTENSION)).fetchone()
    if row is None:
        return None
    version, schema, type_number, array_number = row
    if tuple(int(part) for part in str(version).split(".")[:2]) < LEAST_VERSION:
        message = f"pgvector at {shown} is {version}, and 0.8 is needed: install it on the server, then run there"
        raise Unavailable(f"{message} ALTER EXTENSION vector UPDATE", retry_after=RETRY_SECONDS)
    return Extension(str(schema), int(type_number), int(array_number))


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
    row = await (await session.execute(_FIND, (stored(wanted.name),))).fetchone()
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
    row = await (await session.execute(_ADD, (stored(wanted.name), wanted.model, wanted.dimension))).fetchone()
    assert row is not None
    tables = Tables(int(row[0]), extension.schema, wanted.metric)
    for statement in tables.making(wanted.dimension):
        await session.execute(statement)
    return tables.number


def _wanted_indexes(tables: Tables, wanted: Wanted) -> set[str]:
    """That of the metric alone: one of another is not searched any more, and costs each change."""
    return {tables.index(tables.metric)} if wanted.dimension <= MOST_INDEXED else set()


async def _indexes(session: Session, tables: Tables) -> set[str]:
    names = [tables.index(metric) for metric in OPERATORS]
    rows = await (await session.execute(_INDEXES, (SCHEMA, names))).fetchall()
    return {str(name) for (name,) in rows}


async def _index(session: Session, tables: Tables, wanted: set[str]) -> None:
    there = await _indexes(session, tables)
    if wanted - there:
        await session.execute(_BUILDING)
        await session.execute(tables.making_index())
    for name in sorted(there - wanted):
        await session.execute(SQL("DROP INDEX IF EXISTS {}").format(Identifier(SCHEMA, name)))
