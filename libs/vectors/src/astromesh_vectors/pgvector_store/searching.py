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

MOST_COMPARED: Final = 5000
"""Passages that meet a filter and are compared one by one: it takes as long as the index would to skip the others."""

FEW: Final = 1000
"""Passages of a collection that are compared one by one without a filter too."""

METADATA: Final = SQL("p.metadata")
EVERYTHING: Final[Condition] = (Composed([SQL("true")]), [])

_ROWS: Final = (
    " SELECT near.distance, " + COLUMNS + " FROM near JOIN {passages} p USING (number)"
    " JOIN {documents} d ON d.key = p.document ORDER BY near.distance, number"
)
_EXACTLY = SQL(
    "WITH met AS MATERIALIZED (SELECT number, embedding FROM {passages} p WHERE {where}),"
    " near AS (SELECT number, embedding {distance} %b AS distance FROM met ORDER BY distance, number LIMIT %s)" + _ROWS
)
_BY_INDEX = SQL(
    "WITH near AS MATERIALIZED (SELECT number, embedding {distance} %b AS distance FROM {passages} p WHERE {where}"
    " ORDER BY embedding {distance} %b LIMIT %s)" + _ROWS
)
_MET = SQL("SELECT count(*) FROM (SELECT FROM {passages} p WHERE {where} LIMIT %s) AS met")


async def nearest(
    session: Session, tables: Tables, unit: Vectors, limit: int, where: Filter | None, passages: int
) -> list[Match]:
    """The passages nearest to a unit vector that meet the filter, best first, equal ones in the order of writing.

    `passages` is how many the collection has, or had: it decides about the way alone.
    """
    met = EVERYTHING if where is None else condition(where, METADATA)
    there = passages if where is None else await _count(session, tables, met)
    if there > (FEW if where is None else MOST_COMPARED):
        found = await _by_index(session, tables, unit, limit, met)
        if len(found) == limit:
            return found
    return await _exactly(session, tables, unit, limit, met)


async def _count(session: Session, tables: Tables, met: Condition) -> int:
    """How many passages meet a condition, as far as that matters."""
    query = _MET.format(passages=tables.passages, where=met[0])
    row = await (await session.execute(query, [*met[1], MOST_COMPARED + 1])).fetchone()
    return 0 if row is None else int(row[0])


async def _by_index(session: Session, tables: Tables, unit: Vectors, limit: int, met: Condition) -> list[Match]:
    asked = Vector(unit)
    return await _matches(session, tables, _BY_INDEX, met[0], [asked, *met[1], asked, limit])


async def _exactly(session: Session, tables: Tables, unit: Vectors, limit: int, met: Condition) -> list[Match]:
    return await _matches(session, tables, _EXACTLY, met[0], [*met[1], Vector(unit), limit])


async def _matches(session: Session, tables: Tables, form: SQL, where: Composed, values: list[object]) -> list[Match]:
    query = form.format(passages=tables.passages, documents=tables.documents, distance=tables.distance, where=where)
    cursor = session.cursor(binary=True)
    await cursor.execute(query, values)
    return [read(PassageRow(*row[1:]), tables.similarity(row[0])) for row in await cursor.fetchall()]
