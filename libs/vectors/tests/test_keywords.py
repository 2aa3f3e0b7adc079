"""The words of a FAISS store's passages: found by BM25, in step with the rows, and whatever is asked is plain text."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.errors import InvalidInput
from astromesh_testing.contracts.vector_store import EAST, NORTH, digest, passage, rows, vector, write
from astromesh_vectors.faiss_store import keywords
from astromesh_vectors.faiss_store.store import SIDECAR_FILE, FaissStore

KILLED_WRITER = Path(__file__).with_name("endless_writer.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "collection"


@pytest.fixture
async def store(folder: Path) -> AsyncGenerator[FaissStore]:
    opened = compass(folder)
    yield opened
    await opened.close()


def compass(folder: Path) -> FaissStore:
    return FaissStore(folder, model="compass", dimension=4)


async def worded(store: FaissStore, words: str, limit: int = 10) -> list[str]:
    found = await store.search(None, words, limit)
    assert found.by_vector == []
    return [match.passage.text.text for match in found.by_words]


async def test_the_passage_with_the_rarest_words_comes_first(store: FaissStore) -> None:
    await write(store, "a", "the store keeps events", "the store keeps events and the store keeps sagas", "owls")
    await write(store, "b", "sagas", "the store")
    assert await worded(store, "sagas") == ["sagas", "the store keeps events and the store keeps sagas"]
    assert (await worded(store, "the owls"))[0] == "owls"
    assert await worded(store, "OWL") == ["owls"]
    assert await worded(store, "store", limit=1) == ["the store"]
    assert await worded(store, "ghost") == []


async def test_an_identifier_is_found_as_a_whole(store: FaissStore) -> None:
    await write(store, "a", "a threshold of similarity", "set similarity_threshold: 0.5", "similarity, and a threshold")
    assert await worded(store, "similarity_threshold") == ["set similarity_threshold: 0.5"]
    assert len(await worded(store, "similarity threshold")) == 3


async def test_titles_and_accents_are_found_too(store: FaissStore) -> None:
    kept = passage("Ein Satz.")
    kept.headings[:] = ["Überblick 東京"]
    await store.put("a", digest("a"), [kept], rows(EAST))
    for words in ("uberblick", "ÜBERBLICK", "東京"):
        assert await worded(store, words) == ["Ein Satz."]


async def test_words_change_with_their_document(store: FaissStore) -> None:
    await write(store, "a", "old words")
    await write(store, "a", "new words", version="2")
    assert await worded(store, "words") == ["new words"]
    assert await worded(store, "old") == []
    await store.remove("a")
    assert await worded(store, "words") == []


async def test_both_ways_find_in_one_state_with_vectors_and_cosines(store: FaissStore) -> None:
    await write(store, "a", "owls", direction=EAST)
    await write(store, "b", "mice", direction=NORTH)
    found = await store.search(vector([3, 0, 0, 0]), "mice", 1)
    (near,), (worded_match,) = found.by_vector, found.by_words
    assert (near.passage.text.text, near.passage.score, near.vector.tolist()) == ("owls", 1.0, EAST)
    assert (worded_match.passage.text.text, worded_match.vector.tolist()) == ("mice", NORTH)
    assert worded_match.passage.sha256 == digest("mice")
    with pytest.raises(InvalidInput, match="dimension 4"):
        await store.search(vector([1, 0]), "", 1)


@given(st.text(st.sampled_from("ab\"*^():+-{}\0\n. NEAROTD,é🚀'\\;%_") | st.characters(exclude_categories=["Cs"])))
def test_what_is_asked_is_text_and_no_query_language(text: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE passages (number INTEGER PRIMARY KEY, text TEXT, headings TEXT)")
    keywords.prepare(connection)
    connection.execute("INSERT INTO passages VALUES (1, 'zebra', '[]')")
    assert keywords.best(connection, text + " zebra", 5) == [1]
    assert keywords.best(connection, text.replace("zebra", ""), 5) == []
    connection.close()


@pytest.mark.parametrize(
    "text", ["owls OR mice", "owls NOT owls", "text:owls", "mi*", '"owls', "NEAR(owls mice)", "-owls"]
)
async def test_operators_are_words(store: FaissStore, text: str) -> None:
    await write(store, "a", "owls", "mice")
    expected = {"mi*": [], "owls OR mice": ["owls", "mice"], "NEAR(owls mice)": ["mice"], "text:owls": []}
    assert await worded(store, text) == expected.get(text, ["owls"])


async def test_words_without_meaning_are_looked_for_where_there_are_no_others(store: FaissStore) -> None:
    await write(store, "a", "to be or not to be", "what is this", "owls")
    assert await worded(store, "what is this?") == ["what is this"]
    assert await worded(store, "What, is this (about) owls?") == ["owls"]


async def test_a_question_of_very_many_words_is_answered(store: FaissStore) -> None:
    await write(store, "a", "owls")
    assert await worded(store, "owls " + " ".join(f"w{number}" for number in range(100_000))) == ["owls"]


async def test_a_store_that_was_filled_without_words_gets_them(folder: Path) -> None:
    before = compass(folder)
    await write(before, "a", "owls")
    await before.close()
    connection = sqlite3.connect(folder / SIDECAR_FILE)
    connection.executescript("DROP TRIGGER words_of_new; DROP TRIGGER words_of_gone; DROP TABLE words;")
    connection.close()
    after = compass(folder)
    assert await worded(after, "owls") == ["owls"]
    await after.close()


async def test_a_killed_writer_leaves_words_and_rows_in_step(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(KILLED_WRITER), str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(4):
        await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    connection = sqlite3.connect(folder / SIDECAR_FILE)
    # Raises DatabaseError where the index is not of the rows.
    connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    (count,) = connection.execute("SELECT count(*) FROM words").fetchone()
    assert count >= 4
    connection.close()
