"""Passages in PostgreSQL with pgvector, shared by as many processes as there are. A `VectorStore`. Needs the extra
`postgres`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from pgvector.psycopg.vector import register_vector_info
from psycopg import errors
from psycopg.sql import SQL
from psycopg.types import TypeInfo

from astromesh_core.errors import InvalidInput, NotFound, Unavailable
from astromesh_core.filters import Filter, Metadata, MetadataValue
from astromesh_core.postgres.database import Database, Session
from astromesh_core.resources.connections import BackendAddress
from astromesh_vectors.asked_words import asked_words
from astromesh_vectors.passages import checked
from astromesh_vectors.pgvector_store import changing
from astromesh_vectors.pgvector_store.collection import Collection, Extension, Wanted, open_collection
from astromesh_vectors.pgvector_store.conditions import condition
from astromesh_vectors.pgvector_store.rows import COLUMNS, PassageRow, key_of, metadata_of, original, read
from astromesh_vectors.pgvector_store.searching import EVERYTHING, FEW, nearest
from astromesh_vectors.pgvector_store.tables import Tables, Totals
from astromesh_vectors.pgvector_store.wording import worded
from astromesh_vectors.pgvector_store.words import plain_words
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.unit import unit_rows

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage
    from astromesh_vectors.pgvector_store.tables import Metric
    from astromesh_vectors.ports import Vectors

T = TypeVar("T")

CONNECTIONS: Final = 4
"""At most, of one store."""

PUT_SECONDS: Final = 60.0
PUT_RATE: Final = 20
"""Passages a second, at least, that a document may take beyond that: on a small machine an index takes hundreds."""

_SETTINGS = SQL(
    "SELECT set_config('hnsw.iterative_scan', 'strict_order', false), set_config('hnsw.ef_search', '100', false),"
    " set_config('jit', 'off', false)"
)
"""Of a connection. An ef_search of 100 finds 95 to 100 of 100 true neighbours among some ten thousand drawn vectors of
384 dimensions; its own default is 40."""

_GONE = (errors.UndefinedTable, errors.UndefinedObject, errors.InvalidSchemaName, errors.UndefinedFunction)
"""Somebody dropped what we had made, or put an older copy of the database in place."""

_DOCUMENTS = SQL("SELECT id, sha256 FROM {documents} d WHERE {where} ORDER BY id")
_DOCUMENT = SQL("SELECT metadata, text FROM {documents} WHERE key = %s")
_PASSAGES = SQL(
    "SELECT " + COLUMNS + " FROM {passages} p JOIN {documents} d ON d.key = p.document WHERE d.key = %s"
    " ORDER BY p.ordinal"
)
_TOTALS = SQL("SELECT passages, words FROM astromesh.vector_collections WHERE id = %s")
_OF_DOCUMENT = SQL("d.metadata")


class PgvectorStore:
    """One collection of a database. The first call connects to it, and makes the tables where they are missing.

    `collection` is its name, any text; `model` names the embedder whose vectors it keeps: opening it for another model
    or dimension raises Conflict. Whatever keeps it from the database raises Unavailable, until it is mended.
    """

    def __init__(
        self, address: BackendAddress, *, collection: str, model: str, dimension: int, metric: Metric = "cosine"
    ) -> None:
        """Raises InvalidInput for an address that is none."""
        self.dimension = dimension
        self._wanted = Wanted(collection, model, dimension, metric)
        self._database = Database(address, size=CONNECTIONS, prepare=self._prepare)
        self._opening = asyncio.Lock()
        self._collection: Collection | None = None
        self._extension: Extension | None = None
        self._passages = 0
        """How many there were when it was last asked."""

    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: Vectors,
        metadata: Metadata | None = None,
        text: str = "",
    ) -> bool:
        content = checked(document, passages, vectors, metadata, self.dimension)
        new = await asyncio.to_thread(changing.new_document, document, sha256, text, list(passages), content)

        async def work(tables: Tables) -> bool:
            async with self._database.transaction(seconds=PUT_SECONDS + len(passages) / PUT_RATE) as session:
                return await changing.put(session, tables, new)

        return await self._on_tables(work)

    async def remove(self, document: str) -> bool:
        async def work(tables: Tables) -> bool:
            async with self._database.transaction() as session:
                return await changing.remove(session, tables, document)

        return await self._on_tables(work)

    async def documents(self, where: Filter | None = None) -> dict[str, bytes]:
        met, values = EVERYTHING if where is None else condition(where, _OF_DOCUMENT)

        async def work(tables: Tables) -> dict[str, bytes]:
            async with self._database.connection() as session:
                cursor = await session.execute(_DOCUMENTS.format(documents=tables.documents, where=met), values)
                return {original(name): bytes(sha256) for name, sha256 in await cursor.fetchall()}

        return await self._on_tables(work)

    async def metadata(self, document: str) -> dict[str, MetadataValue]:
        found, _ = await self._document(document)
        return found

    async def text(self, document: str) -> str:
        _, found = await self._document(document)
        return found

    async def passages(self, document: str) -> list[Match]:
        await self._document(document)

        async def work(tables: Tables) -> list[Match]:
            query = _PASSAGES.format(passages=tables.passages, documents=tables.documents)
            async with self._database.connection() as session:
                cursor = session.cursor(binary=True)
                await cursor.execute(query, (key_of(document),))
                return [read(PassageRow(*row), 0.0) for row in await cursor.fetchall()]

        return await self._on_tables(work)

    async def count(self) -> int:
        async def work(tables: Tables) -> int:
            async with self._database.connection() as session:
                return (await self._totals(session, tables)).passages

        return await self._on_tables(work)

    async def search(
        self,
        vector: Vectors | None,
        words: str,
        limit: int,
        where: Filter | None = None,
        min_score: float = -1.0,
    ) -> Matches:
        if limit < 1:
            raise InvalidInput(f"the limit is {limit}; it must be at least 1")
        unit = None if vector is None else unit_rows([vector], self.dimension)[0]
        asked = [" ".join(plain_words(word)) for word in asked_words(words)]

        async def work(tables: Tables) -> Matches:
            # By vectors, one statement brings all that is found; words need several, and so a transaction.
            opened = self._database.transaction(one_state=True) if asked else self._database.connection()
            async with opened as session:
                few = self._passages <= FEW
                totals = await self._totals(session, tables) if asked or few else Totals(self._passages, 0)
                near = [] if unit is None else await nearest(session, tables, unit, limit, where, totals.passages)
                shared = await worded(session, tables, asked, limit, where, totals) if asked else []
                return Matches([match for match in near if match.passage.score >= min_score], shared)

        return await self._on_tables(work)

    async def close(self) -> None:
        """Ends the connections. Idempotent."""
        await self._database.close()

    async def _document(self, document: str) -> tuple[dict[str, MetadataValue], str]:
        async def work(tables: Tables) -> tuple[dict[str, MetadataValue], str] | None:
            async with self._database.connection() as session:
                cursor = await session.execute(_DOCUMENT.format(documents=tables.documents), (key_of(document),))
                row = await cursor.fetchone()
                return None if row is None else (metadata_of(row[0]), original(row[1]))

        found = await self._on_tables(work)
        if found is None:
            raise NotFound(f"document {document!r} is not in this collection")
        return found

    async def _on_tables(self, work: Callable[[Tables], Awaitable[T]]) -> T:
        """Does the work, once more where the tables turn out to be gone: they are made anew, empty."""
        try:
            return await work((await self._opened()).tables)
        except _GONE:
            self._collection = None
        try:
            return await work((await self._opened()).tables)
        except _GONE as error:
            message = f"the tables of collection {self._wanted.name!r} at {self._database.shown} are gone: {error}"
            raise Unavailable(message, retry_after=1.0) from error

    async def _opened(self) -> Collection:
        if self._collection is None:
            async with self._opening:
                if self._collection is None:
                    opened = await open_collection(self._database, self._wanted)
                    self._extension = opened.extension
                    # The connections so far do not know how a vector is read.
                    await self._database.renew()
                    self._collection = opened
        return self._collection

    async def _totals(self, session: Session, tables: Tables) -> Totals:
        row = await (await session.execute(_TOTALS, (tables.number,))).fetchone()
        totals = Totals(0, 0) if row is None else Totals(int(row[0]), int(row[1]))
        self._passages = totals.passages
        return totals

    async def _prepare(self, session: Session) -> None:
        await session.execute(_SETTINGS)
        if self._extension is not None:
            found = self._extension
            register_vector_info(session, TypeInfo("vector", found.type_number, found.array_number))
