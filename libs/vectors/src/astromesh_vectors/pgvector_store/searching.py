"""Finds passages of one collection by their vectors. Changes nothing.

A filter that few passages meet is answered exactly, from those that meet it; one that many meet by the index, whose
iterative scan goes on until there are enough. Where that gives up too early, the search is done exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgvector import Vector
from psycopg.sql import SQL, Composed

from astromesh_core.filters import Filter
from astromesh_core.postgres.database import Session
from astromesh_vectors.pgvector_store.conditions import Condition, condition
from astromesh_vectors.pgvector_store.rows import COLUMNS, PassageRow, read
from astromesh_vectors.pgvector_store.tables import Tables
from astromesh_vectors.ports import Match

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

MOST_COMPARED: Final = 2000
"""Passages that meet a filter and are compared one by one: it takes as long as the index would to skip the others."""

_ANY_NUMBER: Final = 2**62

FEW: Final = 1000
"""Passages of a collection that are compared one by one without a filter too."""

METADATA: Final = SQL("p.metadata")
EVERYTHING: Final[Condition] = (Composed([SQL("true")]), [])

_ROWS: Final = (
    " SELECT near.distance, " + COLUMNS + " FROM near JOIN {passages} p USING (number)"
    " JOIN {documents} d ON d.key = p.document ORDER BY near.distance, number"
)
_EXACTLY = SQL(
    "WITH met AS MATERIALIZED (SELECT number, embedding FROM {passages} p WHERE {where} LIMIT %s),"
    " near AS (SELECT number, embedding {distance} %b AS distance FROM met WHERE (SELECT count(*) FROM met) <= %s"
    " ORDER BY distance, number LIMIT %s)" + _ROWS
)
_BY_INDEX = SQL(
    "WITH near AS MATERIALIZED (SELECT number, embedding {distance} %b AS distance FROM {passages} p WHERE {where}"
    " ORDER BY embedding {distance} %b LIMIT %s)" + _ROWS
)
_IS_MET = SQL("SELECT EXISTS (SELECT FROM {passages} p WHERE {where})")


async def nearest(
    session: Session, tables: Tables, unit: Vectors, limit: int, where: Filter | None, passages: int
) -> list[Match]:
    """The passages nearest to a unit vector that meet the filter, best first, equal ones in the order of writing.

    `passages` is how many the collection has, or had: it decides about the way alone.
    """
    if where is None:
        if passages <= FEW:
            return await _exactly(session, tables, unit, limit, EVERYTHING)
        return await _by_index(session, tables, unit, limit, EVERYTHING)
    met = condition(where, METADATA)
    found = await _exactly(session, tables, unit, limit, met, MOST_COMPARED)
    if found or not await _is_met(session, tables, met):
        return found
    return await _by_index(session, tables, unit, limit, met)


async def _is_met(session: Session, tables: Tables, met: Condition) -> bool:
    row = await (await session.execute(_IS_MET.format(passages=tables.passages, where=met[0]), met[1])).fetchone()
    return row is not None and bool(row[0])


async def _by_index(session: Session, tables: Tables, unit: Vectors, limit: int, met: Condition) -> list[Match]:
    asked = Vector(unit)
    found = await _matches(session, tables, _BY_INDEX, met[0], [asked, *met[1], asked, limit])
    return found if len(found) == limit else await _exactly(session, tables, unit, limit, met)


async def _exactly(
    session: Session, tables: Tables, unit: Vectors, limit: int, met: Condition, most: int | None = None
) -> list[Match]:
    """Nothing, where more than `most` meet the condition."""
    enough = None if most is None else most + 1
    guard = _ANY_NUMBER if most is None else most
    return await _matches(session, tables, _EXACTLY, met[0], [*met[1], enough, Vector(unit), guard, limit])


async def _matches(session: Session, tables: Tables, form: SQL, where: Composed, values: list[object]) -> list[Match]:
    query = form.format(passages=tables.passages, documents=tables.documents, distance=tables.distance, where=where)
    cursor = session.cursor(binary=True)
    await cursor.execute(query, values)
    return [read(PassageRow(*row[1:]), tables.similarity(row[0])) for row in await cursor.fetchall()]
