"""Filters as Chroma has them. Pure. Source: https://docs.trychroma.com/docs/querying-collections/metadata-filtering

Chroma negates no whole: a negation is carried down to the parts, where each comparison has its opposite. Its `$ne`,
`$nin` and `$not_contains` are met where the key is missing, as ours are. Values of other kinds are never equal there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, cast

from chromadb.api.types import Where

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
    is_number,
    kind_of,
)
from astromesh_vectors.point_store.tokens import key_token

KEYS = "keys"
"""A list of tokens: each key of a passage, and of numbers once more."""

Condition: TypeAlias = dict[str, object] | bool
"""As Chroma writes it; True is met by all, False by none."""

_OPPOSITES = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}


def where_of(conditions: Iterable[Condition]) -> Where | None:
    """All of the conditions as one; None for all points, what no point meets where there can be none."""
    found = _joined("$and", conditions)
    if found is True:
        return None
    return cast("Where", {KEYS: {"$contains": "never"}} if found is False else found)


def condition_of(where: Filter, *, met: bool = True) -> Condition:
    """The condition that is met by the same passages, or, without `met`, by all others."""
    match where:
        case Every(parts):
            return _joined("$and" if met else "$or", [condition_of(part, met=met) for part in parts])
        case Some(parts):
            return _joined("$or" if met else "$and", [condition_of(part, met=met) for part in parts])
        case Not(part):
            return condition_of(part, met=not met)
        case Equals(key, value):
            return {name_of(key): {"$eq" if met else "$ne": compared(value)}}
        case OneOf(key, values):
            return _one_of(key, values, met=met)
        case Exists(key):
            return _has(key_token(key), met=met)
        case Within():
            return _within(where, met=met)


def name_of(key: str) -> str:
    """A key of ours beside those of the store."""
    return f"m:{key}"


def compared(value: MetadataValue) -> MetadataValue:
    """A value as it is stored and asked for: a number as a double, since Chroma cuts 1.5 where it meets an integer."""
    return float(value) if is_number(value) else value


def keys_of(metadata: Iterable[tuple[str, MetadataValue]]) -> list[str]:
    """What stands in `KEYS` of a passage."""
    return [token for key, value in metadata for token in _keys(key, value)]


def _keys(key: str, value: MetadataValue) -> list[str]:
    return [key_token(key), _number_token(key)] if is_number(value) else [key_token(key)]


def _number_token(key: str) -> str:
    return f"number{key_token(key)}"


def _has(token: str, *, met: bool) -> Condition:
    return {KEYS: {"$contains" if met else "$not_contains": token}}


def _one_of(key: str, values: Sequence[MetadataValue], *, met: bool) -> Condition:
    kinds: dict[str, list[MetadataValue]] = {}
    for value in values:
        kinds.setdefault(kind_of(value), []).append(compared(value))
    # A list of Chroma's is of one kind.
    each: list[Condition] = [{name_of(key): {"$in" if met else "$nin": same}} for same in kinds.values()]
    return _joined("$or" if met else "$and", each)


def _within(bounds: Within, *, met: bool) -> Condition:
    name = name_of(bounds.key)
    given = {"$gt": bounds.above, "$gte": bounds.at_least, "$lt": bounds.below, "$lte": bounds.at_most}
    there = [(sign, value) for sign, value in given.items() if value is not None]
    is_one = _has(_number_token(bounds.key), met=met)
    if met:
        return _joined("$and", [is_one, *({name: {sign: float(value)}} for sign, value in there)])
    return _joined("$or", [is_one, *({name: {_OPPOSITES[sign]: float(value)}} for sign, value in there)])


def _joined(word: str, conditions: Iterable[Condition]) -> Condition:
    """Conditions joined by `$and` or `$or`, where neither is asked of fewer than two."""
    decided = word == "$or"
    kept: list[Condition] = []
    for condition in conditions:
        if condition is decided:
            return decided
        if not isinstance(condition, bool):
            kept.append(condition)
    if not kept:
        return not decided
    return kept[0] if len(kept) == 1 else {word: kept}
