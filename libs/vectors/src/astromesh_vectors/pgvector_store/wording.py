"""Finds passages of one collection by the words that they share with a question, ranked by BM25. Changes nothing.

PostgreSQL says who has what, from its index of words; BM25 is counted here, because no function of PostgreSQL knows how
rare a word is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg.sql import SQL, Composed

from astromesh_core.filters import Filter
from astromesh_core.postgres.database import Session
from astromesh_vectors.pgvector_store.conditions import condition
from astromesh_vectors.pgvector_store.rows import COLUMNS, PassageRow, read
from astromesh_vectors.pgvector_store.searching import EVERYTHING, METADATA
from astromesh_vectors.pgvector_store.tables import Tables, Totals
from astromesh_vectors.pgvector_store.words import Asked, Candidate, ranked, weight
from astromesh_vectors.ports import Match

MOST_JUDGED: Final = 400
"""Passages, at least, that BM25 judges: those that have most of what was asked, a rare word before common ones."""

MOST_LOOKED_AT: Final = 20_000
"""Passages that have rare words are looked at without those that have common ones alone, where these would be more."""

_ASKED = SQL(
    "SELECT asked.query::text, asked.lexemes, (SELECT count(*) FROM {passages} WHERE words @@ asked.query)"
    " FROM (SELECT min(place) AS place, query, lexemes FROM unnest(%s::text[]) WITH ORDINALITY AS given (word, place),"
    " phraseto_tsquery('astromesh.words', word) AS query,"
    " LATERAL (SELECT array_agg(lexeme ORDER BY place) FROM unnest(to_tsvector('astromesh.words', word)),"
    " unnest(positions) AS place) AS stood (lexemes)"
    " WHERE numnode(query) > 0 GROUP BY query, lexemes) AS asked ORDER BY asked.place"
)
_CANDIDATES = SQL(
    "SELECT number, length, ARRAY[{has}],"
    " (SELECT jsonb_object_agg(lexeme, positions) FROM unnest(words) WHERE lexeme = ANY (%s))"
    " FROM (SELECT number, length, words FROM {passages} p WHERE words @@ %s::tsquery AND {where}"
    " ORDER BY {worth} DESC, number LIMIT %s) AS found"
)
_NUMBERED = SQL(
    "SELECT number, " + COLUMNS + " FROM {passages} p JOIN {documents} d ON d.key = p.document WHERE number = ANY (%s)"
)


async def worded(
    session: Session, tables: Tables, words: Sequence[str], limit: int, where: Filter | None, totals: Totals
) -> list[Match]:
    """The passages that have any of the words and meet the filter, best first. Several words in one text stand side by
    side. How rare a word is, is counted in all passages."""
    asked = await _asked(session, tables, words)
    most = max(MOST_JUDGED, 4 * limit)
    candidates: list[Candidate] = []
    for telling in _rounds(asked, totals.passages):
        candidates = await _candidates(session, tables, asked, telling, where, totals, most)
        if len(candidates) >= limit:
            break
    numbers = ranked(candidates, asked, totals.passages, totals.words)[:limit]
    return await _numbered(session, tables, numbers)


def _rounds(asked: Sequence[Asked], passages: int) -> list[list[Asked]]:
    """What a passage must have some of: the rare alone, where the common are in very many, and then anything.

    What half of all passages have weighs next to nothing.
    """
    rare: list[Asked] = []
    there = 0
    for each in sorted(asked, key=lambda each: each.passages):
        if rare and (there + each.passages > MOST_LOOKED_AT or 2 * each.passages > passages):
            return [rare, list(asked)] if there else [list(asked)]
        rare.append(each)
        there += each.passages
    return [rare] if there else []


async def _asked(session: Session, tables: Tables, words: Sequence[str]) -> list[Asked]:
    if not words:
        return []
    cursor = await session.execute(_ASKED.format(passages=tables.passages), (list(words),))
    return [Asked(query, lexemes, there) for query, lexemes, there in await cursor.fetchall()]


async def _candidates(
    session: Session,
    tables: Tables,
    asked: Sequence[Asked],
    telling: Sequence[Asked],
    where: Filter | None,
    totals: Totals,
    most: int,
) -> list[Candidate]:
    met, values = EVERYTHING if where is None else condition(where, METADATA)
    has = SQL(", ").join([SQL("words @@ %s::tsquery")] * len(asked))
    worth = SQL(" + ").join([SQL("CASE WHEN words @@ %s::tsquery THEN %s::float8 ELSE 0 END")] * len(asked))
    lexemes = sorted({lexeme for each in asked for lexeme in each.lexemes})
    any_of = " | ".join(f"({each.query})" for each in telling)
    queries = [each.query for each in asked]
    weighed = [value for each in asked for value in (each.query, weight(each, totals.passages))]
    cursor = await session.execute(
        _CANDIDATES.format(has=has, worth=worth, passages=tables.passages, where=met),
        [*queries, lexemes, any_of, *values, *weighed, most],
    )
    return [
        Candidate(number, length, has, {lexeme: frozenset(places) for lexeme, places in found.items()})
        for number, length, has, found in await cursor.fetchall()
    ]


async def _numbered(session: Session, tables: Tables, numbers: list[int]) -> list[Match]:
    query: Composed = _NUMBERED.format(passages=tables.passages, documents=tables.documents)
    cursor = session.cursor(binary=True)
    await cursor.execute(query, (numbers,))
    rows = {row[0]: PassageRow(*row[1:]) for row in await cursor.fetchall()}
    return [read(rows[number], 0.0) for number in numbers]
