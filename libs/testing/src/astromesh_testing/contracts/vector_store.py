"""The rules that every vector store keeps. An adapter's tests subclass `VectorStoreContract` and say how to open it.

class TestMine(VectorStoreContract):
    @pytest.fixture
    def opener(self, tmp_path):
        return lambda *, model, dimension: Mine(collection="c", model=model, dimension=dimension, folder=tmp_path)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from astromesh.v1.values_pb2 import Content, Passage, Sealed
from astromesh_core.errors import Conflict, InvalidInput, NotFound, Unavailable
from astromesh_testing.contracts.stored_vectors import (
    DIMENSION,
    EAST,
    LATE,
    NORTH,
    UP,
    Match,
    Matches,
    Opener,
    Store,
    digest,
    found,
    nearest,
    passage,
    rows,
    vector,
    write,
)
from astromesh_testing.contracts.vector_filters import FiltersContract
from astromesh_testing.contracts.vector_scale import ScaleContract
from astromesh_testing.contracts.vector_words import WordsContract

__all__ = [
    "DIMENSION",
    "EAST",
    "LATE",
    "NORTH",
    "UP",
    "Match",
    "Matches",
    "Opener",
    "Store",
    "VectorStoreContract",
    "digest",
    "found",
    "nearest",
    "passage",
    "rows",
    "vector",
    "write",
]


class VectorStoreContract(FiltersContract, WordsContract, ScaleContract):
    """`opener` is a fixture to give: it opens one and the same collection each time, of `model` and `dimension`."""

    shared = True
    """Whether two stores may have one collection open at once."""

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        """Takes the keywords `model` and `dimension`; the store it returns is closed by the suite."""
        raise NotImplementedError

    @pytest.fixture
    async def closing(self) -> AsyncGenerator[Callable[[Store], None]]:
        """Takes stores that are to be closed after the test."""
        async with AsyncExitStack() as stores:

            def close_later(store: Store) -> None:
                stores.push_async_callback(store.close)

            yield close_later

    @pytest.fixture
    def opened(self, opener: Opener, closing: Callable[[Store], None]) -> Callable[[], Store]:
        def open_again() -> Store:
            store = opener(model="compass", dimension=DIMENSION)
            closing(store)
            return store

        return open_again

    @pytest.fixture
    def store(self, opened: Callable[[], Store]) -> Store:
        return opened()

    async def test_an_empty_store_finds_nothing(self, store: Store) -> None:
        assert await nearest(store) == []
        assert await store.count() == 0
        assert await store.documents() == {}

    async def test_a_search_gives_the_nearest_first_with_their_cosine(self, store: Store) -> None:
        texts = [passage("east"), passage("north-east"), passage("west")]
        await store.put("a", digest("a"), texts, rows([2, 0, 0, 0], [3, 3, 0, 0], [-1, 0, 0, 0]))
        hits = await nearest(store, [5, 0, 0, 0], 3)
        assert [hit.text.text for hit in hits] == ["east", "north-east", "west"]
        assert [hit.score for hit in hits] == pytest.approx([1.0, 0.5**0.5, -1.0], abs=1e-6)
        assert all(-1.0 <= hit.score <= 1.0 for hit in hits)

    async def test_a_passage_comes_back_with_its_place(self, store: Store) -> None:
        kept = passage("naïve 東京 🚀\x00", source="docs/a b.md", start=7)
        await store.put("a", digest("a"), [kept], rows(EAST))
        (hit,) = await nearest(store, EAST, 1)
        assert (hit.source, hit.start, hit.end, list(hit.headings)) == (kept.source, 7, kept.end, ["Guide"])
        assert hit.text.text == kept.text.text
        assert hit.sha256 == digest(kept.text.text)
        assert hit.id

    async def test_no_more_than_top_k_and_nothing_below_min_score(self, store: Store) -> None:
        await write(store, "a", "one", "two", "three")
        await write(store, "b", "other", direction=NORTH)
        assert len(await nearest(store, EAST, 2)) == 2
        near = await store.search(vector(EAST), "", 9, min_score=0.5)
        assert [match.passage.text.text for match in near.by_vector] == ["one", "two", "three"]

    async def test_equal_scores_stand_in_the_order_of_writing(self, store: Store) -> None:
        await write(store, "b", "one", "two")
        await write(store, "a", "three")
        assert await found(store) == ["one", "two", "three"]

    async def test_the_same_hash_again_changes_nothing(self, store: Store) -> None:
        assert await write(store, "a", "kept") is True
        assert await write(store, "a", "ignored") is False
        assert await found(store) == ["kept"]

    async def test_another_hash_replaces_all_passages(self, store: Store) -> None:
        await write(store, "a", "old one", "old two")
        await write(store, "b", "bystander")
        await found(store)
        assert await write(store, "a", "new", version="2") is True
        assert sorted(await found(store)) == ["bystander", "new"]
        assert await store.count() == 2
        assert await store.documents() == {"a": digest("2"), "b": digest("1")}
        assert await store.metadata("a") == {"version": "2"}

    async def test_a_removed_document_is_found_no_more(self, store: Store) -> None:
        await write(store, "a", "gone")
        await write(store, "b", "here")
        await found(store)
        assert await store.remove("a") is True
        assert await store.remove("a") is False
        assert await found(store) == ["here"]
        with pytest.raises(NotFound, match="'a'"):
            await store.metadata("a")

    async def test_a_document_may_have_no_passages(self, store: Store) -> None:
        assert await store.put("empty", digest("1"), [], rows()) is True
        assert await store.documents() == {"empty": digest("1")}

    async def test_refuses_vectors_that_do_not_fit_before_it_writes(self, store: Store) -> None:
        wrong = [
            ([passage("a")], rows([1, 0])),
            ([passage("a"), passage("b")], rows(EAST)),
            ([passage("a")], rows([0, 0, 0, 0])),
            ([passage("a")], rows([float("nan"), 0, 0, 0])),
            ([Passage(source="s", text=Content(sealed=Sealed(key_id="k")))], rows(EAST)),
        ]
        for passages, vectors in wrong:
            with pytest.raises(InvalidInput):
                await store.put("a", digest("1"), passages, vectors)
        assert await store.documents() == {}

    async def test_refuses_a_search_that_makes_no_sense(self, store: Store) -> None:
        with pytest.raises(InvalidInput, match="dimension 4"):
            await store.search(vector([1, 0, 0]), "", 1)
        with pytest.raises(InvalidInput, match="limit"):
            await store.search(vector(EAST), "", 0)

    async def test_everything_is_there_after_a_restart(self, opened: Callable[[], Store]) -> None:
        first = opened()
        await write(first, "a", "one", "two")
        await write(first, "b", "three", direction=NORTH)
        before = await nearest(first)
        await first.close()
        second = opened()
        assert await nearest(second) == before
        await second.remove("a")
        await second.close()
        assert await found(opened()) == ["three"]

    async def test_a_collection_of_another_model_or_dimension_is_refused(
        self, opener: Opener, opened: Callable[[], Store]
    ) -> None:
        first = opened()
        await write(first, "a", "one")
        await first.close()
        for model, dimension in (("sextant", DIMENSION), ("compass", 8)):
            other = opener(model=model, dimension=dimension)
            with pytest.raises(Conflict, match="compass with 4"):
                await other.count()
            await other.close()

    async def test_many_tasks_at_once_lose_nothing(self, store: Store) -> None:
        await asyncio.gather(*(write(store, f"d{number}", f"text {number}") for number in range(40)))
        work = [write(store, f"d{number}", f"new {number}", version="2") for number in range(0, 40, 2)]
        searches = [found(store, top_k=100) for _ in range(10)]
        removals = [store.remove(f"d{number}") for number in range(1, 40, 4)]
        await asyncio.gather(*work, *searches, *removals)
        expected = {f"new {number}" for number in range(0, 40, 2)} | {f"text {number}" for number in range(3, 40, 4)}
        assert set(await found(store, top_k=100)) == expected
        assert await store.count() == len(expected)

    async def test_a_search_never_sees_half_a_document(self, store: Store) -> None:
        async def rewrite() -> None:
            for version in range(20):
                await write(store, "a", *(f"v{version}" for _ in range(5)), version=str(version))

        async def look() -> None:
            for _ in range(30):
                texts = await found(store)
                assert len(texts) in (0, 5)
                assert len(set(texts)) <= 1

        await asyncio.gather(rewrite(), look(), look())

    async def test_two_open_stores_see_each_others_changes(self, opened: Callable[[], Store]) -> None:
        if not self.shared:
            pytest.skip("one process has it for itself")
        first, second = opened(), opened()
        await write(first, "a", "one")
        assert await found(second) == ["one"]
        await write(second, "a", "two", version="2")
        assert await found(first) == ["two"]
        await asyncio.gather(*(write(store, f"x{place}", "x") for place, store in enumerate([first, second] * 5)))
        assert len(await found(first, top_k=50)) == len(await found(second, top_k=50)) == 11

    async def test_a_closed_store_says_so(self, store: Store) -> None:
        await write(store, "a", "one")
        await store.close()
        await store.close()
        with pytest.raises(Unavailable, match="closed"):
            await store.count()
