"""Keywords mean in PostgreSQL what they mean in the embedded store: the same words, and the same ranking."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astromesh_core.filters import Equals
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.stores import Connection
from astromesh_testing.contracts.vector_store import EAST, digest, passage, rows, write
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.pgvector_store.store import PgvectorStore
from astromesh_vectors.pgvector_store.words import Asked, Candidate, occurrences, plain_words, ranked
from astromesh_vectors.ports import VectorStore

DOCS = Path(__file__).parents[3] / "docs"
QUESTIONS = [
    "how is a budget shared between replicas",
    "similarity_threshold",
    "circuit breaker opens",
    "what happens when the provider's key is wrong?",
    "tokens",
    "retry after 429",
    "the and of",
    "nothing-like-this-anywhere",
]


@pytest.fixture
async def store(postgres: str) -> AsyncGenerator[PgvectorStore]:
    address = postgres_address(Connection(url=postgres), {})
    opened = PgvectorStore(address, collection="c", model="compass", dimension=4)
    yield opened
    await opened.close()


async def worded(store: VectorStore, words: str, limit: int = 10) -> list[str]:
    return [match.passage.text.text for match in (await store.search(None, words, limit)).by_words]


async def test_the_passage_with_the_rarest_words_comes_first(store: PgvectorStore) -> None:
    await write(store, "a", "the store keeps events", "the store keeps events and the store keeps sagas", "owls")
    await write(store, "b", "sagas", "the store")
    assert await worded(store, "sagas") == ["sagas", "the store keeps events and the store keeps sagas"]
    assert (await worded(store, "the owls"))[0] == "owls"
    assert await worded(store, "OWL") == ["owls"]
    assert await worded(store, "store", limit=1) == ["the store"]
    assert await worded(store, "ghost") == []


async def test_an_identifier_is_found_as_a_whole(store: PgvectorStore) -> None:
    await write(store, "a", "a threshold of similarity", "set similarity_threshold: 0.5", "similarity, and a threshold")
    assert await worded(store, "similarity_threshold") == ["set similarity_threshold: 0.5"]
    assert len(await worded(store, "similarity threshold")) == 3


async def test_only_what_meets_the_filter_is_found(store: PgvectorStore) -> None:
    await store.put("a", digest("1"), [passage("red owl")], rows(EAST), {"colour": "red"})
    await store.put("b", digest("1"), [passage("blue owl")], rows(EAST), {"colour": "blue"})
    found = await store.search(None, "owl", 5, Equals("colour", "blue"))
    assert [match.passage.text.text for match in found.by_words] == ["blue owl"]


async def test_both_stores_find_the_same_passages_in_the_same_order(store: PgvectorStore, tmp_path: Path) -> None:
    embedded = FaissStore(tmp_path / "c", model="compass", dimension=4)
    for path in sorted(DOCS.glob("*.md")):
        texts = [part for part in path.read_text().split("\n\n") if part.strip()]
        for each in (store, embedded):
            await write(each, path.name, *texts)
    for question in QUESTIONS:
        assert await worded(store, question, 8) == await worded(embedded, question, 8), question
    await embedded.close()


@pytest.fixture(scope="module")
def tokenizer() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize = 'porter unicode61 remove_diacritics 2')")
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)")
    yield connection
    connection.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_letters_of_any_script_are_words_and_nothing_else_is(text: str) -> None:
    words = plain_words(text)
    assert all(word.isalnum() for word in words)
    assert plain_words(" ".join(words)) == words


async def test_words_are_cut_and_shortened_as_in_the_embedded_store(
    store: PgvectorStore, postgres: str, tokenizer: sqlite3.Connection
) -> None:
    await store.count()
    corpus = " ".join(path.read_text() for path in sorted(DOCS.glob("*.md")))
    tricky = "naïve Ærø ÉCOLE über résumé's e-mail a_b C++ 3.14 1e5 0x1F 2024-01-02 x.y.z ±5 東京 привет Ωμέγα 한국어"
    text = f"{corpus} {tricky} running runs ran ponies hopping relational university"
    tokenizer.execute("DELETE FROM t")
    tokenizer.execute("INSERT INTO t VALUES (?)", (text,))
    theirs = {term for (term,) in tokenizer.execute("SELECT DISTINCT term FROM v")}
    with psycopg.connect(postgres) as connection:
        query = "SELECT tsvector_to_array(to_tsvector('astromesh.words', %s))"
        row = connection.execute(query, (" ".join(plain_words(text)),)).fetchone()
    assert row is not None
    # Snowball takes the s off words of two letters too, and Greek and Cyrillic lose their accents here alone.
    assert {word for word in set(row[0]) ^ theirs if len(word) > 2 and word.isascii()} == set()


def test_a_rare_word_weighs_more_than_a_common_one_and_a_short_passage_more_than_a_long_one() -> None:
    rare, common = Asked("'owl'", ["owl"], 1), Asked("'store'", ["store"], 40)
    once = {"store": frozenset([3])}
    short, long = Candidate(1, 10, [False, True], once), Candidate(2, 90, [False, True], once)
    owl = Candidate(3, 90, [True, False], {"owl": frozenset([1])})
    assert ranked([long, short, owl], [rare, common], 100, 5000) == [3, 1, 2]
    twice = Candidate(9, 10, [False, True], {"store": frozenset([3, 7])})
    assert ranked([short, twice], [rare, common], 100, 5000) == [9, 1]


def test_words_side_by_side_are_counted_where_they_stand_so() -> None:
    places = {"similar": frozenset([1, 5, 9]), "threshold": frozenset([2, 7, 10])}
    candidate = Candidate(1, 10, [True], places)
    assert occurrences(Asked("", ["similar", "threshold"], 1), candidate) == 2
    assert occurrences(Asked("", ["similar"], 1), candidate) == 3
