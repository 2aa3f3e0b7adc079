"""What is found by words, in every vector store alike. Part of the stores' suite; how words are cut is each store's."""

from __future__ import annotations

import pytest

from astromesh_core.errors import NotFound
from astromesh_core.filters import Equals
from astromesh_testing.contracts.stored_vectors import (
    EAST,
    NORTH,
    Store,
    digest,
    passage,
    rows,
    vector,
    write,
)

FILLER = "the river flows past old houses and under low bridges until it meets the sea"


async def worded(store: Store, words: str, limit: int = 10) -> list[str]:
    """The texts that share words with these, best first."""
    matches = await store.search(None, words, limit)
    assert matches.by_vector == []
    return [match.passage.text.text for match in matches.by_words]


class WordsContract:
    """Needs the fixture `store`."""

    async def test_words_find_the_passages_that_have_them(self, store: Store) -> None:
        await write(store, "a", "owls hunt at night", "storks build nests", "owls and storks")
        assert set(await worded(store, "owls")) == {"owls hunt at night", "owls and storks"}
        assert set(await worded(store, "OWLS")) == {"owls hunt at night", "owls and storks"}
        assert (await worded(store, "owls storks"))[0] == "owls and storks"
        assert await worded(store, "herons") == []
        assert len(await worded(store, "owls", limit=1)) == 1

    async def test_a_rare_word_counts_more_than_a_common_one_and_a_short_passage_more_than_a_long_one(
        self, store: Store
    ) -> None:
        await write(store, "a", *(f"common {number}" for number in range(8)), "rare word", f"rare {FILLER}")
        assert (await worded(store, "common rare"))[0] == "rare word"
        assert (await worded(store, "rare"))[:2] == ["rare word", f"rare {FILLER}"]

    @pytest.mark.parametrize(
        "words", ['"', "' OR 1=1 --", "a AND", "NEAR(", "*", "(((", "\\", "text:owls", "-owls", "\x00", "🚀", "%", "$"]
    )
    async def test_words_are_plain_text(self, store: Store, words: str) -> None:
        await write(store, "a", "owls hunt")
        assert await worded(store, f"{words} owls") == ["owls hunt"]
        await worded(store, words)

    async def test_words_change_with_their_document(self, store: Store) -> None:
        await write(store, "a", "old owls")
        assert await worded(store, "owls") == ["old owls"]
        await write(store, "a", "new herons", version="2")
        assert await worded(store, "owls") == []
        assert await worded(store, "herons") == ["new herons"]
        await store.remove("a")
        assert await worded(store, "herons") == []

    async def test_both_ways_find_at_once_and_are_filtered_alike(self, store: Store) -> None:
        await write(store, "a", "owls", direction=EAST)
        await write(store, "b", "owls", direction=NORTH, version="2")
        both = await store.search(vector(EAST), "owls", 5)
        assert [match.passage.id.split("#")[0] for match in both.by_vector] == ["a", "b"]
        assert {match.passage.id for match in both.by_words} == {match.passage.id for match in both.by_vector}
        one = await store.search(vector(EAST), "owls", 5, Equals("version", "2"), min_score=-0.5)
        (near,), (by_words,) = one.by_vector, one.by_words
        assert near.passage.id == by_words.passage.id
        assert near.vector.tolist() == pytest.approx(NORTH)
        assert near.passage.score == pytest.approx(0.0, abs=1e-6)

    async def test_a_document_gives_back_its_passages_and_its_text(self, store: Store) -> None:
        text = "# All of it\n\nnaïve 東京 🚀"
        await store.put(
            "a/ü 🚀'\"#%\\..", digest("1"), [passage("one"), passage("two", start=9)], rows(EAST, NORTH), {}, text
        )
        (name,) = await store.documents()
        assert name == "a/ü 🚀'\"#%\\.."
        assert await store.text(name) == text
        assert [match.passage.text.text for match in await store.passages(name)] == ["one", "two"]
        assert (await store.passages(name))[1].vector.tolist() == pytest.approx(NORTH)
        for missing in (store.text("b"), store.passages("b")):
            with pytest.raises(NotFound, match="'b'"):
                await missing
