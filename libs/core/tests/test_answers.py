"""Answers by their schema: what is wrong is told with its place, in words that no library changes."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.answers import NOT_JSON, AnswerSchema
from astromesh_core.errors import InvalidInput

ORDER = AnswerSchema(
    """{
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1},
        "currency": {"enum": ["EUR", "USD"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}
    },
    "required": ["items", "currency"],
    "additionalProperties": false,
    "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number", "minimum": 0}}}}
    }"""
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_an_answer_that_matches_has_no_problems() -> None:
    assert ORDER.problems(' {"items": [{"price": 3}], "currency": "EUR", "note": null}\n') == []


@pytest.mark.parametrize("answer", ["", "Sure!", '```json\n{"items": []}\n```', '{"items": [', "NaN"])
def test_what_is_no_json_is_told_so(answer: str) -> None:
    assert ORDER.problems(answer) == [NOT_JSON]


def test_each_problem_names_its_place_and_what_is_asked() -> None:
    answer = {"items": [{"price": 3}, {"price": -1}, {"price": "free"}], "note": 5, "tip": 1}
    assert ORDER.problems(orjson.dumps(answer).decode()) == [
        "/items/1/price: -1 does not satisfy minimum 0",
        '/items/2/price: "free" does not satisfy type ["number"]',
        "/note: 5 does not satisfy anyOf",
        'the whole: the properties ["tip"] are not allowed',
        'the whole: the property "currency" is missing',
    ]


def test_what_is_told_of_one_answer_is_bounded() -> None:
    answer = {"items": [{"price": "x" * 10_000}] * 1000, "currency": "EUR"}
    told = ORDER.problems(orjson.dumps(answer).decode())
    assert len(told) == 10
    assert max(map(len, told)) < 500


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "[]",
        '{"type": "objekt"}',
        '{"pattern": "("}',
        '{"$ref": "#/nowhere"}',
        '{"$ref": "https://example.com/schema.json"}',
        '{"title": "%s"}' % ("x" * 70_000),
    ],
)
def test_what_is_no_schema_is_refused_and_nothing_is_fetched(schema: str) -> None:
    with pytest.raises(InvalidInput):
        AnswerSchema(schema)


@given(VALUES)
def test_any_answer_is_judged_the_same_again(value: object) -> None:
    answer = orjson.dumps(value).decode()
    assert ORDER.problems(answer) == ORDER.problems(answer)
