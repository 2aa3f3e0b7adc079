"""Filters on metadata: what each means, how they are written, and what is refused with its place."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.errors import InvalidInput
from astromesh_core.filters import (
    Equals,
    Every,
    Exists,
    Filter,
    Metadata,
    Not,
    OneOf,
    Some,
    Within,
    checked_metadata,
    conjunction,
    is_met,
)
from astromesh_core.written_filters import MOST_CONDITIONS, MOST_VALUES, filter_of, read_filter

BOOK: Metadata = {"team": "support", "year": 2024, "open": True, "score": 0.5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"team": "support"}', Equals("team", "support")),
        ('{"team": {"$eq": "support"}}', Equals("team", "support")),
        ('{"team": {"$ne": "x"}}', Not(Equals("team", "x"))),
        ('{"team": {"$in": ["a", 1, true]}}', OneOf("team", ("a", 1, True))),
        ('{"team": {"$nin": []}}', Not(OneOf("team", ()))),
        ('{"year": {"$gte": 2020, "$lt": 2025}}', Within("year", at_least=2020, below=2025)),
        (
            '{"year": {"$gt": 1.5, "$lte": 2, "$ne": 2}}',
            Every((Within("year", 1.5, at_most=2), Not(Equals("year", 2)))),
        ),
        ('{"lang": {"$exists": true}}', Exists("lang")),
        ('{"lang": {"$exists": false}}', Not(Exists("lang"))),
        ('{"a": 1, "b": 2}', Every((Equals("a", 1), Equals("b", 2)))),
        ('{"$or": [{"a": 1}, {"b": 2, "c": 3}]}', Some((Equals("a", 1), Every((Equals("b", 2), Equals("c", 3)))))),
        ('{"$and": [{"a": 1}, {}]}', Every((Equals("a", 1), Every(())))),
        ('{"$not": {"a": 1}}', Not(Every((Equals("a", 1),)))),
        ("{}", None),
        ("", None),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, expected: Filter | None) -> None:
    assert repr(read_filter(text)) == repr(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON"),
        ("[]", "not a list"),
        ('"a"', "not a text"),
        ('{"a": null}', "a: null is no value"),
        ('{"a": [1]}', "a: list is no value"),
        ('{"a": {}}', "a: an empty object"),
        ('{"a": {"$like": "x"}}', "'\\$like' is no operator"),
        ('{"a": {"b": 1}}', "'b' is no operator"),
        ('{"$nor": [{"a": 1}]}', "is no key"),
        ('{"": 1}', "is no key"),
        ('{"$or": {"a": 1}}', r"\$or takes a list"),
        ('{"$and": []}', r"\$and takes a list"),
        ('{"a": {"$gt": "5"}}', r"\$gt takes a number, not a text"),
        ('{"a": {"$gt": true}}', "not true or false"),
        ('{"a": {"$in": "x"}}', "take a list"),
        ('{"a": {"$exists": 1}}', "takes true or false"),
        ('{"a": 9007199254740993}', "beyond 2"),
        ('{"a": "\\u0000"}', "no NUL"),
        (orjson.dumps({"a": {"$in": [1] * (MOST_VALUES + 1)}}).decode(), "values at most"),
        (orjson.dumps({f"k{number}": 1 for number in range(MOST_CONDITIONS + 1)}).decode(), "more than 100 conditions"),
        ('{"$not": ' * 12 + "{}" + "}" * 12, "nested more than 10 deep"),
    ],
)
def test_what_means_nothing_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read_filter(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["$and", "$not", "$in", "$gt"]), inner)
        ),
    )
)
def test_any_json_is_a_filter_or_is_refused(value: object) -> None:
    try:
        found = filter_of(value)
    except InvalidInput:
        return
    assert found is None or is_met(found, {}) in (True, False)


@pytest.mark.parametrize(
    ("where", "met"),
    [
        (Equals("year", 2024.0), True),
        (Equals("year", "2024"), False),
        (Equals("open", 1), False),
        (Equals("score", True), False),
        (OneOf("team", ("sales", "support")), True),
        (OneOf("team", ()), False),
        (Within("year"), True),
        (Within("team"), False),
        (Within("open", at_least=0), False),
        (Within("year", above=2024), False),
        (Within("year", at_least=2024, at_most=2024), True),
        (Exists("missing"), False),
        (Not(Equals("missing", 1)), True),
        (Not(Within("team", below=0)), True),
        (Every(()), True),
        (Some(()), False),
        (Some((Exists("missing"), Exists("team"))), True),
    ],
)
def test_each_condition_by_its_meaning(where: Filter, met: bool) -> None:
    assert is_met(where, BOOK) is met
    assert is_met(Not(where), BOOK) is not met


def test_conditions_are_joined_where_there_are_some() -> None:
    assert conjunction(None, None) is None
    assert conjunction(None, Exists("a")) == Exists("a")
    assert conjunction(Exists("a"), Exists("b")) == Every((Exists("a"), Exists("b")))


def test_metadata_is_plain() -> None:
    assert checked_metadata(orjson.loads(b'{"a": 1, "b": "x", "c": false, "d": 0.5}'))["c"] is False
    with pytest.raises(InvalidInput, match="a: dict is no value"):
        checked_metadata({"a": {}})
