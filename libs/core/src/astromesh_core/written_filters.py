"""Filters as people and models write them, in JSON: `{"team": "support", "year": {"$gte": 2020}}`. Pure.

Each entry is a key with a value, or with operators: `$eq`, `$ne`, `$in`, `$nin`, `$gt`, `$gte`, `$lt`, `$lte`,
`$exists`; or `$and`, `$or` with a list of filters, `$not` with one. All entries have to be met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

import orjson

from astromesh_core.errors import InvalidInput
from astromesh_core.filters import (
    Equals,
    Every,
    Exists,
    Filter,
    MetadataValue,
    Not,
    OneOf,
    Some,
    Within,
    checked_key,
    checked_value,
    conjunction,
    is_number,
)

MOST_CONDITIONS: Final = 100
MOST_VALUES: Final = 1_000
"""Of one `$in`."""
DEEPEST: Final = 10

_BOUNDS: Final = {"$gt": "above", "$gte": "at_least", "$lt": "below", "$lte": "at_most"}


def read_filter(text: str) -> Filter | None:
    """The filter that JSON text holds; None for an empty text and for `{}`. Raises InvalidInput naming the place."""
    if not text.strip():
        return None
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the filter is no JSON: {error}") from error
    return filter_of(value)


def filter_of(value: object) -> Filter | None:
    """The filter that a JSON value is; None for `{}`. Raises InvalidInput that names the place."""
    return conjunction(*_Reading().entries(value, 0))


class _Reading:
    """One filter being read; counts its conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def entries(self, value: object, depth: int) -> list[Filter]:
        if not isinstance(value, Mapping):
            raise InvalidInput(f"a filter is an object of keys and conditions, not {_json_name(value)}")
        if depth > DEEPEST:
            raise InvalidInput(f"the filter is nested more than {DEEPEST} deep")
        return [self._entry(key, wanted, depth) for key, wanted in cast("Mapping[object, object]", value).items()]

    def _entry(self, key: object, wanted: object, depth: int) -> Filter:
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            raise InvalidInput(f"the filter has more than {MOST_CONDITIONS} conditions")
        match key:
            case "$and":
                return Every(self._listed("$and", wanted, depth))
            case "$or":
                return Some(self._listed("$or", wanted, depth))
            case "$not":
                return Not(Every(tuple(self.entries(wanted, depth + 1))))
            case _:
                return _condition(checked_key(key), wanted)

    def _listed(self, key: str, wanted: object, depth: int) -> tuple[Filter, ...]:
        if not isinstance(wanted, list) or not wanted:
            raise InvalidInput(f"{key} takes a list of filters")
        each = [Every(tuple(self.entries(one, depth + 1))) for one in cast("list[object]", wanted)]
        return tuple(one.parts[0] if len(one.parts) == 1 else one for one in each)


def _condition(key: str, wanted: object) -> Filter:
    if not isinstance(wanted, Mapping):
        return Equals(key, checked_value(key, wanted))
    operators = cast("Mapping[str, object]", wanted)
    if not operators:
        raise InvalidInput(f"{key}: an empty object is no condition")
    bounds = {name: value for name, value in operators.items() if name in _BOUNDS}
    others = [_operated(key, name, value) for name, value in operators.items() if name not in _BOUNDS]
    found = conjunction(_within(key, bounds) if bounds else None, *others)
    assert found is not None
    return found


def _within(key: str, bounds: Mapping[str, object]) -> Within:
    numbers: dict[str, float] = {}
    for name, value in bounds.items():
        if not is_number(value):
            raise InvalidInput(f"{key}: {name} takes a number, not {_json_name(value)}")
        checked_value(key, value)
        numbers[_BOUNDS[name]] = value
    return Within(key, **numbers)


def _operated(key: str, name: str, value: object) -> Filter:
    operator = _OPERATORS.get(name)
    if operator is None:
        known = ", ".join([*_OPERATORS, *_BOUNDS])
        raise InvalidInput(f"{key}: {name[:40]!r} is no operator; there are {known}")
    return operator(key, value)


def _one_of(key: str, value: object) -> OneOf:
    values = cast("list[object]", value) if isinstance(value, list) else None
    if values is None or len(values) > MOST_VALUES:
        raise InvalidInput(f"{key}: $in and $nin take a list of {MOST_VALUES} values at most")
    kept: list[MetadataValue] = [checked_value(key, one) for one in values]
    return OneOf(key, tuple(kept))


def _exists(key: str, value: object) -> Filter:
    if not isinstance(value, bool):
        raise InvalidInput(f"{key}: $exists takes true or false")
    return Exists(key) if value else Not(Exists(key))


_OPERATORS: Final[Mapping[str, Callable[[str, object], Filter]]] = {
    "$eq": lambda key, value: Equals(key, checked_value(key, value)),
    "$ne": lambda key, value: Not(Equals(key, checked_value(key, value))),
    "$in": _one_of,
    "$nin": lambda key, value: Not(_one_of(key, value)),
    "$exists": _exists,
}


def _json_name(value: object) -> str:
    """What JSON calls a value's kind."""
    names: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
