"""Changes documents of one collection, each in the transaction of the session that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from pgvector import Vector
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from astromesh_core.postgres.database import Session
from astromesh_vectors.passages import Checked
from astromesh_vectors.pgvector_store.rows import key_of, stored
from astromesh_vectors.pgvector_store.tables import Tables, Totals
from astromesh_vectors.pgvector_store.words import plain_words

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage

_PUT = SQL(
    "INSERT INTO {documents} AS d (key, id, sha256, metadata, text) VALUES (%s, %s, %s, %s, %s)"
    " ON CONFLICT (key) DO UPDATE SET sha256 = excluded.sha256, metadata = excluded.metadata, text = excluded.text"
    " WHERE d.sha256 <> excluded.sha256 RETURNING true"
)
_ADD = SQL(
    "INSERT INTO {passages}"
    " (document, ordinal, source, first, past, headings, text, metadata, length, words, embedding)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s,"
    " to_tsvector('astromesh.words', %s) || to_tsvector('astromesh.words', %s), %b)"
)
_TAKE_OUT = SQL(
    "WITH gone AS (DELETE FROM {passages} WHERE document = %s RETURNING length)"
    " SELECT count(*), coalesce(sum(length), 0) FROM gone"
)
_FORGET = SQL("DELETE FROM {documents} WHERE key = %s")
_LOCK = SQL("SELECT true FROM {documents} WHERE key = %s FOR UPDATE")
_COUNT = SQL("UPDATE astromesh.vector_collections SET passages = passages + %s, words = words + %s WHERE id = %s")


_AT_A_TIME: Final = 500
"""Rows sent without a look at what else there is to do."""

Row: TypeAlias = tuple[object, ...]


class NewDocument(NamedTuple):
    """A document as it is to be: its row, the rows of its passages, and how many words these have."""

    key: bytes
    values: Row
    passages: list[Row]
    words: int


def new_document(name: str, sha256: bytes, text: str, passages: Sequence[Passage], content: Checked) -> NewDocument:
    """Cuts the passages into words. Takes its time: call it off the event loop."""
    key = key_of(name)
    texts = [(plain_words(each.text.text), plain_words(" ".join(each.headings))) for each in passages]
    lengths = [len(body) + len(headings) for body, headings in texts]
    rows: list[Row] = [
        (key, ordinal, *_place(passage), Jsonb(metadata), length, " ".join(words[0]), " ".join(words[1]), Vector(unit))
        for ordinal, (passage, metadata, length, words, unit) in enumerate(
            zip(passages, content.each, lengths, texts, content.units, strict=True)
        )
    ]
    values = (key, stored(name), sha256, Jsonb(content.metadata), stored(text))
    return NewDocument(key, values, rows, sum(lengths))


async def put(session: Session, tables: Tables, new: NewDocument) -> bool:
    """Makes the document this one; False where it is at its hash already."""
    cursor = await session.execute(_PUT.format(documents=tables.documents), new.values)
    if await cursor.fetchone() is None:
        return False
    gone = await _take_out(session, tables, new.key)
    for first in range(0, len(new.passages), _AT_A_TIME):
        rows = new.passages[first : first + _AT_A_TIME]
        await session.cursor().executemany(_ADD.format(passages=tables.passages), rows)
    # Last, because whoever else changes the collection waits here until we have committed.
    await _count(session, tables, Totals(len(new.passages) - gone.passages, new.words - gone.words))
    return True


async def remove(session: Session, tables: Tables, name: str) -> bool:
    """Forgets the document and its passages; False where it was not there."""
    key = key_of(name)
    locked = await session.execute(_LOCK.format(documents=tables.documents), (key,))
    if await locked.fetchone() is None:
        return False
    gone = await _take_out(session, tables, key)
    await session.execute(_FORGET.format(documents=tables.documents), (key,))
    await _count(session, tables, Totals(-gone.passages, -gone.words))
    return True


async def _take_out(session: Session, tables: Tables, key: bytes) -> Totals:
    row = await (await session.execute(_TAKE_OUT.format(passages=tables.passages), (key,))).fetchone()
    return Totals(0, 0) if row is None else Totals(int(row[0]), int(row[1]))


async def _count(session: Session, tables: Tables, change: Totals) -> None:
    await session.execute(_COUNT, (change.passages, change.words, tables.number))


def _place(passage: Passage) -> tuple[str, int, int, Jsonb, str]:
    headings = Jsonb([stored(heading) for heading in passage.headings])
    return stored(passage.source), passage.start, passage.end, headings, stored(passage.text.text)
