"""A pgvector store on databases that others share, lack something, or go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg.sql import SQL

from astromesh.v1.values_pb2 import Passage
from astromesh_core.errors import Conflict, InvalidInput, Unavailable
from astromesh_core.filters import Equals
from astromesh_core.resources.connections import BackendAddress, postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_testing.contracts.vector_store import EAST, NORTH, digest, found, passage, rows, vector, write
from astromesh_testing.postgres import PostgresServer
from astromesh_testing.waiting import until
from astromesh_vectors.pgvector_store import searching
from astromesh_vectors.pgvector_store.rows import stored
from astromesh_vectors.pgvector_store.store import PgvectorStore
from astromesh_vectors.pgvector_store.tables import Metric

HOSTILE = [
    "'; DROP SCHEMA astromesh CASCADE; --",
    '"; DROP SCHEMA astromesh CASCADE; --',
    "%s %(x)s %% {passages} {}",
    "\\' OR 1=1 \\",
    "$$;SELECT 1;$$",
    "a & | ! <-> :* (b",
    "'a':1A,2B <3> ''",
    "\x1a0\x1a1\x1a",
]


def address(dsn: str) -> BackendAddress:
    return postgres_address(Connection(url=dsn), {})


@asynccontextmanager
async def opened(
    dsn: str, collection: str = "c", *, dimension: int = 4, metric: Metric = "cosine"
) -> AsyncGenerator[PgvectorStore]:
    store = PgvectorStore(address(dsn), collection=collection, model="compass", dimension=dimension, metric=metric)
    try:
        yield store
    finally:
        await store.close()


def asked(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def indexes(dsn: str) -> set[str]:
    query = "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%hnsw%'"
    return {str(name) for (name,) in asked(dsn, query)}


async def test_replicas_that_open_an_empty_database_together_make_its_tables_once(postgres: str) -> None:
    replicas = [PgvectorStore(address(postgres), collection="c", model="compass", dimension=4) for _ in range(5)]
    await asyncio.gather(*(write(store, f"d{number}", "text") for number, store in enumerate(replicas)))
    assert [await store.count() for store in replicas] == [5] * 5
    assert asked(postgres, "SELECT name, passages FROM astromesh.vector_collections") == [("c", 5)]
    for store in replicas:
        await store.close()


async def test_replicas_that_write_one_document_leave_one_whole_version(postgres: str) -> None:
    async with opened(postgres) as one, opened(postgres) as other:
        for attempt in range(5):
            versions = [
                write(store, "a", *[f"{attempt}-{number}"] * 4, version=f"{attempt}-{number}")
                for number, store in enumerate([one, other] * 3)
            ]
            await asyncio.gather(*versions)
            texts = await found(one)
            assert len(texts) == 4
            assert len(set(texts)) == 1
            assert await one.count() == 4


async def test_no_text_becomes_sql(postgres: str) -> None:
    for text in HOSTILE:
        async with opened(postgres, text) as store:
            kept = Passage(source=text, start=0, end=1, headings=[text], metadata_json='{"k": "v"}')
            kept.text.text = f"words {text}"
            assert await store.put(text, digest(text), [kept], rows(EAST), {text.replace("$", "S"): text}, text)
            assert await store.documents(Equals(text.replace("$", "S"), text)) == {text: digest(text)}
            (near,) = (await store.search(vector(EAST), "", 3, Equals("k", "v"))).by_vector
            assert (near.passage.source, list(near.passage.headings)) == (text, [text])
            assert near.passage.text.text == f"words {text}"
            assert await store.text(text) == text
            assert len((await store.search(None, f"{text} words", 3)).by_words) == 1
            assert await store.remove(text)
    collections = asked(postgres, "SELECT name FROM astromesh.vector_collections ORDER BY id")
    assert collections == [(stored(name),) for name in HOSTILE]


async def test_a_name_with_nul_is_a_name_like_others(postgres: str) -> None:
    async with opened(postgres, "nul\0here") as store, opened(postgres, "nul") as other:
        await write(store, "a\0b", "text")
        assert await store.documents() == {"a\0b": digest("1")}
        assert await store.remove("a\0b")
        assert await other.count() == 0
        assert asked(postgres, "SELECT name FROM astromesh.vector_collections") == [("nul\x1a0here",), ("nul",)]


async def test_a_database_without_pgvector_says_what_to_run_and_works_when_it_was(
    postgres: str, postgres_server: PostgresServer
) -> None:
    name = postgres.rpartition("/")[2]
    postgres_server.execute("DROP ROLE IF EXISTS app", "CREATE ROLE app LOGIN PASSWORD 'hunter2'")
    app = postgres_server.dsn(name, user="app", password="hunter2")
    async with opened(app) as store:
        with pytest.raises(Unavailable, match="as a superuser run there CREATE EXTENSION vector") as refused:
            await store.count()
        assert "hunter2" not in str(refused.value)
        postgres_server.execute("CREATE EXTENSION vector", database=name)
        with pytest.raises(Unavailable, match="permission denied for database"):
            await store.count()
        postgres_server.execute("CREATE SCHEMA astromesh AUTHORIZATION app", database=name)
        assert await write(store, "a", "one")
        assert await found(store) == ["one"]


async def test_pgvector_may_stand_in_a_schema_of_its_own(postgres: str, postgres_server: PostgresServer) -> None:
    statements = ("CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions")
    postgres_server.execute(*statements, database=postgres.rpartition("/")[2])
    async with opened(postgres) as store:
        await write(store, "a", "one", "two")
        assert await found(store) == ["one", "two"]


async def test_a_server_that_goes_and_comes_back_is_told_of_and_used_again(own_postgres: PostgresServer) -> None:
    async with opened(own_postgres.dsn()) as store:
        await write(store, "a", "one")
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(Unavailable):
            await store.count()
        with pytest.raises(Unavailable, match="refused") as gone:
            await write(store, "b", "two")
        assert own_postgres.password not in str(gone.value)
        assert gone.value.retry_after
        await asyncio.to_thread(own_postgres.start)
        assert await found(store) == ["one"]
        assert await write(store, "b", "two")


async def test_a_writer_that_loses_its_server_leaves_whole_documents(own_postgres: PostgresServer) -> None:
    acknowledged: list[str] = []

    async def write_on(store: PgvectorStore) -> None:
        for number in range(10_000):
            await write(store, f"d{number}", *[f"text {number}"] * 3)
            acknowledged.append(f"d{number}")

    async with opened(own_postgres.dsn()) as store:
        writing = asyncio.create_task(write_on(store))

        async def some_are_written() -> bool:
            return len(acknowledged) > 5

        await until(some_are_written)
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(Unavailable):
            await writing
        await asyncio.to_thread(own_postgres.start)
        documents = await store.documents()
        assert set(acknowledged) <= documents.keys()
        assert len(await found(store, top_k=500)) == await store.count() == 3 * len(documents)


async def test_a_database_that_only_reads_answers_and_is_unavailable_for_changes(
    postgres: str, postgres_server: PostgresServer
) -> None:
    async with opened(postgres) as store:
        await write(store, "a", "one")
    postgres_server.execute(f"ALTER DATABASE {postgres.rpartition('/')[2]} SET default_transaction_read_only = on")
    async with opened(postgres) as store:
        assert await found(store) == ["one"]
        with pytest.raises(Unavailable, match="read-only"):
            await write(store, "b", "two")
        with pytest.raises(Unavailable, match="read-only"):
            await store.remove("a")
        assert await store.count() == 1


async def test_tables_that_were_dropped_are_made_anew(postgres: str, postgres_server: PostgresServer) -> None:
    name = postgres.rpartition("/")[2]
    async with opened(postgres) as store:
        await write(store, "a", "one")
        postgres_server.execute("DROP SCHEMA astromesh CASCADE", database=name)
        assert await store.documents() == {}
        assert await write(store, "a", "two")
        postgres_server.execute("DROP EXTENSION vector CASCADE", "DROP SCHEMA astromesh CASCADE", database=name)
        assert await write(store, "a", "three")
        assert await found(store) == ["three"]


async def test_a_change_of_metric_makes_its_index_and_finds_the_same(postgres: str) -> None:
    metrics: list[Metric] = ["cosine", "ip", "l2"]
    async with opened(postgres) as store:
        await write(store, "a", "east")
        await write(store, "b", "north", direction=NORTH)
    for metric in metrics:
        async with opened(postgres, metric=metric) as store:
            near = (await store.search(vector([3.0, 4.0, 0.0, 0.0]), "", 2)).by_vector
            assert [match.passage.text.text for match in near] == ["north", "east"]
            assert [match.passage.score for match in near] == pytest.approx([0.8, 0.6], abs=1e-6)
            met = await store.search(vector([3.0, 4.0, 0.0, 0.0]), "", 2, Equals("version", "1"), min_score=0.7)
            assert [match.passage.text.text for match in met.by_vector] == ["north"]
        assert indexes(postgres) == {f"vector_passages_1_{metric}"}


async def test_vectors_longer_than_an_index_takes_are_searched_without_one(postgres: str) -> None:
    wide = [1.0] + [0.0] * 3071
    async with opened(postgres, dimension=3072) as store:
        await store.put("a", digest("a"), [passage("wide")], rows(wide))
        assert [match.passage.text.text for match in (await store.search(vector(wide), "", 1)).by_vector] == ["wide"]
    assert indexes(postgres) == set()
    async with opened(postgres, "d", dimension=16_001) as store:
        with pytest.raises(InvalidInput, match="at most 16000"):
            await store.count()


async def test_a_dimension_that_changed_is_refused_until_it_changes_back(postgres: str) -> None:
    async with opened(postgres) as store:
        await write(store, "a", "one")
    async with opened(postgres, dimension=8) as store:
        for _ in range(2):
            with pytest.raises(Conflict, match="compass with 4 dimensions, asked for are compass with 8"):
                await store.count()
    async with opened(postgres) as store:
        assert await found(store) == ["one"]


async def fill(store: PgvectorStore, passages: int) -> None:
    """Passages of random directions in documents of a hundred; every hundredth passage is marked."""
    import numpy as np

    draw = np.random.default_rng(7)
    for first in range(0, passages, 100):
        texts = [
            Passage(source="s", start=number, metadata_json='{"marked": true}' if number % 100 == 50 else "")
            for number in range(first, first + 100)
        ]
        for each in texts:
            each.text.text = f"passage {each.start}"
        await store.put(f"d{first}", digest("1"), texts, draw.normal(size=(100, 4)).astype(np.float32))


async def test_a_filter_that_few_meet_still_finds_enough(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(postgres) as store:
        await fill(store, 3000)
        where = Equals("marked", True)
        exactly = await found(store, top_k=20, where=where)
        assert len(exactly) == 20
        monkeypatch.setattr(searching, "MOST_COMPARED", 0)
        by_index = await found(store, top_k=20, where=where)
        assert len(set(by_index) & set(exactly)) >= 18
        assert len(await found(store, top_k=40, where=where)) == 30
        assert len(await found(store, top_k=25)) == 25


async def test_the_index_is_asked_where_there_are_many(postgres: str) -> None:
    async with opened(postgres) as store:
        await fill(store, 1500)
        await found(store, top_k=10)
    with psycopg.connect(postgres) as connection:
        connection.execute("SET enable_seqscan = off")
        query = SQL(
            "EXPLAIN SELECT number FROM astromesh.vector_passages_1 ORDER BY embedding <=> '[1,0,0,0]'::vector LIMIT 5"
        )
        plan = " ".join(str(line) for (line,) in connection.execute(query).fetchall())
    assert "vector_passages_1_cosine" in plan
