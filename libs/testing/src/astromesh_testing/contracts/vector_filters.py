"""What filters mean, in every vector store alike: what `astromesh_core.filters.is_met` says. Part of the suite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astromesh_core.errors import InvalidInput
from astromesh_core.filters import (
    LARGEST_INTEGER,
    LONGEST_KEY,
    LONGEST_TEXT,
    Equals,
    Every,
    Exists,
    Filter,
    Metadata,
    MetadataValue,
    Not,
    OneOf,
    Some,
    Within,
    is_met,
)
from astromesh_testing.contracts.stored_vectors import EAST, Store, digest, found, nearest, passage, rows

KEYS = ("team", "year", "a.b", "k\"e'y[0]", "ключ 🚀", "__proto__")
VALUES: tuple[MetadataValue, ...] = (
    *("", "a", "A", "1", "true", "x' OR '1'='1", "%_", "naïve 東京", "$eq", '["a"]', "\\u0000", " a"),
    *(0, 1, -1, 1.0, 1.5, -0.0, 2024, LARGEST_INTEGER, -LARGEST_INTEGER, 1e-300, 1e300),
    *(True, False),
)
"""Such as compare in surprising ways somewhere."""

EXAMPLES = 70
PASSAGES = 60

_keys = st.sampled_from(KEYS)
_values = st.sampled_from(VALUES)
_bounds = st.none() | st.sampled_from([value for value in VALUES if isinstance(value, int | float)]).map(float)
_conditions: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Equals, _keys, _values),
    st.builds(OneOf, _keys, st.lists(_values, max_size=4).map(tuple)),
    st.builds(Within, _keys, _bounds, _bounds, _bounds, _bounds),
    st.builds(Exists, _keys),
)


def _joined(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    some = st.lists(parts, max_size=3).map(tuple)
    return st.one_of(st.builds(Every, some), st.builds(Some, some), st.builds(Not, parts))


FILTERS = st.recursive(_conditions, _joined, max_leaves=6)


def metadata_of(number: int) -> dict[str, MetadataValue]:
    """The same for a number each time; every value stands under every key somewhere."""
    chosen = [(key, VALUES[(number * 7 + place * 5) % len(VALUES)]) for place, key in enumerate(KEYS)]
    return {key: value for place, (key, value) in enumerate(chosen) if (number + place) % 3}


async def put(store: Store, document: str, metadata: Metadata, own: Sequence[Metadata]) -> None:
    """A document with metadata, and a passage for each of its own."""
    passages = [passage(f"{document} {place}", start=place) for place in range(len(own))]
    for each, more in zip(passages, own, strict=True):
        each.metadata_json = json.dumps(dict(more)) if more else ""
    await store.put(document, digest(document), passages, rows(*[EAST] * len(own)), metadata)


class FiltersContract:
    """Needs the fixture `store`."""

    async def test_every_filter_lets_through_what_it_means(self, store: Store) -> None:
        described = [metadata_of(number) for number in range(PASSAGES)]
        for start in range(0, PASSAGES, 10):
            await put(store, str(start // 10), {}, described[start : start + 10])
        expected = {f"{place // 10} {place % 10}": metadata for place, metadata in enumerate(described)}
        loop = asyncio.get_running_loop()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(where=FILTERS)
        def check(where: Filter) -> None:
            texts = asyncio.run_coroutine_threadsafe(found(store, EAST, PASSAGES, where), loop).result()
            assert sorted(texts) == sorted(text for text, each in expected.items() if is_met(where, each))

        await asyncio.to_thread(check)

    async def test_a_passages_own_metadata_goes_before_its_documents(self, store: Store) -> None:
        await put(store, "a", {"page": 0, "team": "x"}, [{"page": 1}, {"page": 2, "lang": "de"}, {}])
        assert await found(store, where=Equals("page", 2)) == ["a 1"]
        assert await found(store, where=Equals("page", 0)) == ["a 2"]
        assert await found(store, where=Every((Equals("team", "x"), Not(Exists("lang"))))) == ["a 0", "a 2"]
        first, second, third = await nearest(store)
        assert json.loads(first.metadata_json) == {"page": 1, "team": "x"}
        assert json.loads(second.metadata_json) == {"page": 2, "team": "x", "lang": "de"}
        assert json.loads(third.metadata_json) == {"page": 0, "team": "x"}

    async def test_metadata_comes_back_as_it_was_given(self, store: Store) -> None:
        given_: dict[str, MetadataValue] = {f"k{place}": value for place, value in enumerate(VALUES)}
        given_ |= {"k" * LONGEST_KEY: "v" * LONGEST_TEXT, **dict.fromkeys(KEYS, "here")}
        await put(store, "a", given_, [{}])
        assert await store.metadata("a") == given_
        (only,) = await nearest(store)
        back = json.loads(only.metadata_json)
        assert back == given_
        assert {key: type(value) for key, value in back.items()} == {key: type(given_[key]) for key in back}

    async def test_metadata_changes_with_its_document(self, store: Store) -> None:
        await put(store, "a", {"state": "draft"}, [{}])
        assert await found(store, where=Equals("state", "draft")) == ["a 0"]
        await store.put("a", digest("later"), [passage("later")], rows(EAST), {"state": "final"})
        assert await found(store, where=Equals("state", "draft")) == []
        assert await found(store, where=Equals("state", "final")) == ["later"]
        await store.remove("a")
        assert await found(store, where=Equals("state", "final")) == []

    async def test_documents_are_listed_by_their_own_metadata(self, store: Store) -> None:
        await put(store, "a", {"user": "u1"}, [{"user": "u2"}])
        await put(store, "b", {"user": "u2"}, [])
        await put(store, "c", {}, [{}])
        assert list(await store.documents(Equals("user", "u2"))) == ["b"]
        assert sorted(await store.documents(Not(Equals("user", "u2")))) == ["a", "c"]

    async def test_a_filter_that_few_meet_still_finds_as_many_as_asked_for(self, store: Store) -> None:
        eight: list[Metadata] = [{}] * 8
        for number in range(12):
            await put(store, str(number), {"rare": number == 7}, eight)
        assert len(await found(store, top_k=8, where=Equals("rare", True))) == 8
        assert len(await found(store, top_k=20, where=Equals("rare", False))) == 20

    @pytest.mark.parametrize(
        "metadata",
        [
            *({"": 1}, {"$and": 1}, {"k" * (LONGEST_KEY + 1): 1}, {"a\0b": 1}),
            *({"a": "b\0"}, {"a": "x" * (LONGEST_TEXT + 1)}, {"a": "\ud800"}),
            *({"a": LARGEST_INTEGER + 1}, {"a": float("nan")}, {"a": float("inf")}),
            {str(number): number for number in range(65)},
        ],
    )
    async def test_refuses_metadata_that_not_every_store_keeps(self, store: Store, metadata: Metadata) -> None:
        with pytest.raises(InvalidInput):
            await store.put("a", digest("1"), [passage("a")], rows(EAST), metadata)
        assert await store.documents() == {}
