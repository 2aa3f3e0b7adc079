"""Schemas of anybody: what would take long to check is refused before, and what people mean is not."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.checked_schema import CheckedSchema, TooMuchToCheck
from astromesh_core.errors import InvalidInput
from astromesh_core.schema_effort import SchemaEffort

EXPRESSION: dict[str, Any] = {
    "$defs": {
        "expression": {"anyOf": [{"$ref": "#/$defs/sum"}, {"$ref": "#/$defs/product"}, {"type": "number"}]},
        "sum": {
            "type": "object",
            "properties": {"op": {"const": "+"}, "of": {"items": {"$ref": "#/$defs/expression"}}},
        },
        "product": {
            "type": "object",
            "properties": {"op": {"const": "*"}, "of": {"items": {"$ref": "#/$defs/expression"}}},
        },
    },
    "$ref": "#/$defs/expression",
}
TREE: dict[str, Any] = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "value": {"type": "integer"}}}


def doubled(keyword: str) -> dict[str, Any]:
    """A schema of 2 KiB that has one value checked 2^30 times."""
    twice = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    return {"$defs": {**twice, "d30": {"type": "string"}}, "$ref": "#/$defs/d0"}


def nested(value: Any, levels: int, keyword: str = "") -> Any:
    for _ in range(levels):
        value = {keyword: value} if keyword else [value]
    return value


def errors(schema: dict[str, Any], value: Any) -> int:
    return len(CheckedSchema(schema).errors(orjson.dumps(value).decode(), value))


@pytest.mark.parametrize(
    "schema",
    [
        doubled("allOf"),
        doubled("anyOf"),
        doubled("oneOf"),
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        {"$dynamicAnchor": "x", "items": {"$dynamicRef": "#x"}},
        {"$defs": {"a": {"$id": "https://a.example/", "$ref": "#/$defs/b"}}, "$ref": "#/$defs/a"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$defs": {"a/b": {"type": "string"}, "a": {"b": {}}}, "$ref": "#/$defs/a%2Fb"},
        {"allOf": [{"pattern": f"a{{{n}}}"} for n in range(100)]},
        {"pattern": "((a{1000}){1000}){1000}"},
        {"properties": {str(n): {"type": "string"} for n in range(2_001)}},
        nested({"type": "string"}, 101, "items"),
        {"const": nested(1, 101)},
    ],
)
def test_a_schema_that_would_keep_a_process_busy_is_refused_at_once(schema: dict[str, Any]) -> None:
    begun = time.perf_counter()
    with pytest.raises(InvalidInput):
        CheckedSchema(schema)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, nested(1, 40)),
        ({"items": {"$ref": "#"}, "unevaluatedItems": False}, nested(1, 40)),
        (EXPRESSION, {"op": "+", "of": nested([{"op": "+", "of": [1]}], 60)} | {"of": nested(1, 90)}),
        ({"allOf": [{"maxItems": n} for n in range(1_000)]}, [0] * 10_000),
        ({"type": "object"}, nested(1, 200)),
    ],
)
def test_a_value_that_would_keep_a_process_busy_is_not_checked(schema: dict[str, Any], value: Any) -> None:
    checked = CheckedSchema(schema)
    begun = time.perf_counter()
    with pytest.raises(TooMuchToCheck):
        checked.errors(orjson.dumps(value).decode(), value)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
    [
        (EXPRESSION, {"op": "+", "of": [1, {"op": "*", "of": [2, {"op": "+", "of": [3, 4]}]}]}, 0),
        (EXPRESSION, {"op": "+", "of": [1, {"op": "*", "of": ["x"]}]}, 1),
        (TREE, {"left": {"left": {"value": 1}, "right": {"value": "x"}}, "right": {}}, 1),
        ({"items": {"$ref": "#"}}, nested([], 60), 0),
        ({"items": {"type": "string"}}, ["a"] * 100_000, 0),
        ({"items": {"type": "string"}}, [1] * 100_000, 1),
        ({"items": {"type": "string"}}, [1] * 100, 100),
        ({"items": {"pattern": r"^(?!\s*$).+"}}, ["a"] * 1_000 + [" "], 1),
        ({"$defs": {"a/b": {"type": "string"}}, "items": {"$ref": "#/$defs/a~1b"}}, ["a", 1], 1),
        ({"pattern": r"^\p{L}{1,100}$"}, "Größe", 0),
    ],
)
def test_what_people_mean_is_checked(schema: dict[str, Any], value: Any, wrong: int) -> None:
    begun = time.perf_counter()
    assert errors(schema, value) == wrong
    assert time.perf_counter() - begun < 1


def test_an_expression_that_can_be_tried_without_end_does_not_match() -> None:
    begun = time.perf_counter()
    assert errors({"items": {"pattern": r"^(?=(a+)+$)(a|a)*b\1$"}}, ["a" * 200 + "!"] * 50) == 50
    assert time.perf_counter() - begun < 1


@given(st.integers(1, 3), st.integers(1, 8))
def test_the_checks_of_a_place_are_counted_by_how_deep_it_lies(branches: int, level: int) -> None:
    """Each branch refers to the whole: every level has as many times as many."""
    again: list[Any] = [{"items": {"$ref": "#"}}] * branches
    effort = SchemaEffort({"allOf": again})
    assert effort.at(level) == (branches + 2) * branches**level
