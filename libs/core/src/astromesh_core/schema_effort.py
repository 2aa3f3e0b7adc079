"""How much work it is to check a value by a JSON Schema, told before it is done. Pure; nothing is checked here.

A few hundred bytes of schema can ask for 2^30 checks of one value (a definition that names the next one twice, thirty
times over), and one that refers to itself twice doubles the checks with every level of the value. Such a check cannot
be stopped once it runs, so it is refused before. What is counted is an upper bound: how often anything of the schema
may be applied to one place of a value, by how deep that place lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import cast
from urllib.parse import unquote

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput

MOST_SUBSCHEMAS = 2_000
MOST_PATTERNS = 64
PATTERN_EFFORT = 20
"""What a regular expression costs, in checks of a type."""

MOST_CHECKS = 100_000
"""Of one place of a value that is nested `USUAL_LEVELS` deep; a schema of somebody who means it needs some ten."""

USUAL_LEVELS = 8
DEEPEST = 64
"""Levels of a value for which the checks are counted."""

_IN_PLACE = ("not", "if", "then", "else")
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_IN_PLACE_MAPS = ("dependentSchemas", "dependencies")
_ELSEWHERE = ("additionalProperties", "propertyNames", "items", "additionalItems")
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
_REFUSED = ("$dynamicRef", "$recursiveRef")
_BASES = ("$id", "id")

Schema = Mapping[str, JsonValue]


@dataclass
class _Subschema:
    """What a schema applies to a value and to the values in that; subschemas are told by their numbers."""

    own: int
    times: int
    in_place: list[int]
    to_one: list[int]
    """Each is applied to other children."""
    to_any: list[int]
    """Each may be applied to whatever child."""


class SchemaEffort:
    """The checks that one schema asks for. Raises InvalidInput where they are more than anybody needs."""

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._numbers: dict[int, int] = {}
        self._found: list[Schema] = []
        self._patterns = 0
        self._number(schema)
        # What is read finds others, until all are found.
        self._subschemas = [self._read(each) for each in self._found]
        self._by_level = list(accumulate(self._levels(), max))
        if self.at(USUAL_LEVELS) > MOST_CHECKS:
            raise InvalidInput(
                f"checks one value more than {MOST_CHECKS} times over: let fewer branches refer to the same definition"
            )

    def at(self, level: int) -> int:
        """How often, at most, something is checked at one place so deep in a value, or at one less deep."""
        return self._by_level[min(level, len(self._by_level) - 1)]

    def _number(self, schema: Schema) -> int:
        number = self._numbers.setdefault(id(schema), len(self._found))
        if number == len(self._found):
            self._found.append(schema)
        if len(self._found) > MOST_SUBSCHEMAS:
            raise InvalidInput(f"has more than {MOST_SUBSCHEMAS} subschemas")
        return number

    def _read(self, schema: Schema) -> _Subschema:
        self._check_base(schema)
        by_pattern = _values(schema.get("patternProperties"))
        patterns = ("pattern" in schema) + len(by_pattern)
        self._patterns += patterns
        if self._patterns > MOST_PATTERNS:
            raise InvalidInput(f"has more than {MOST_PATTERNS} patterns")
        return _Subschema(
            own=1 + PATTERN_EFFORT * patterns,
            times=2 if any(name in schema for name in _UNEVALUATED) else 1,
            in_place=list(map(self._number, self._applied_in_place(schema))),
            to_one=list(map(self._number, _applied_elsewhere(schema))),
            to_any=list(map(self._number, [*by_pattern, *_schemas([schema.get("contains")])])),
        )

    def _check_base(self, schema: Schema) -> None:
        """Raises InvalidInput for what would have references mean something else than what is counted here."""
        rebased = (name for name in _BASES if isinstance(schema.get(name), str) and schema is not self._root)
        refused = next((name for name in (*_REFUSED, *rebased) if name in schema), "")
        if refused:
            raise InvalidInput(f"uses {refused}, which is not read: refer by $ref to #/$defs/…")

    def _applied_in_place(self, schema: Schema) -> Iterator[Schema]:
        reference = schema.get("$ref")
        if isinstance(reference, str) and (found := self._referred(reference)) is not None:
            yield found
        for name in _IN_PLACE:
            yield from _schemas([schema.get(name)])
        for name in _IN_PLACE_LISTS:
            yield from _schemas(schema.get(name))
        for name in _IN_PLACE_MAPS:
            yield from _values(schema.get(name))

    def _referred(self, reference: str) -> Schema | None:
        """What a reference names; None for a schema that is true or false."""
        # What %2F means is read in two ways: a step is parted there before it is unquoted, or after.
        if (reference != "#" and not reference.startswith("#/")) or "%2f" in reference.lower():
            raise InvalidInput(f"refers to {reference[:100]!r}: only what stands in it is read, as #/$defs/…")
        found: JsonValue = cast("JsonValue", self._root)
        for step in unquote(reference).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
            else:
                raise InvalidInput(f"refers to {reference[:100]!r}, which does not stand in it")
        return found if isinstance(found, dict) else None

    def _levels(self) -> Iterator[int]:
        """The checks of one place at level 0, 1 and so on, until they change no more."""
        order = self._in_order()
        inner = [one.own for one in self._subschemas]
        here = self._level(order, inner)
        yield here[0]
        for _ in range(DEEPEST):
            above = here
            inner = [
                max((above[each] for each in one.to_one), default=0) + sum(above[each] for each in one.to_any)
                for one in self._subschemas
            ]
            here = self._level(order, inner)
            yield here[0]
            if here == above:
                return

    def _level(self, order: list[int], inner: list[int]) -> list[int]:
        """The checks that each subschema asks for at one place: its `inner` ones, and those of what it applies too."""
        here = [0] * len(order)
        for number in order:
            one = self._subschemas[number]
            here[number] = one.times * (inner[number] + sum(here[each] for each in one.in_place))
        return here

    def _in_order(self) -> list[int]:
        """The subschemas, each after those that it applies in place. Raises InvalidInput where one applies itself."""
        order: list[int] = []
        under_way: set[int] = set()
        done: set[int] = set()
        left = [(place, False) for place in range(len(self._subschemas))]
        while left:
            place, applied = left.pop()
            if applied:
                under_way.discard(place)
                done.add(place)
                order.append(place)
            elif place in under_way:
                raise InvalidInput("has a definition that is nothing but itself")
            elif place not in done:
                under_way.add(place)
                left.append((place, True))
                left += [(each, False) for each in self._subschemas[place].in_place]
        return order


def _applied_elsewhere(schema: Schema) -> Iterator[Schema]:
    yield from _values(schema.get("properties"))
    yield from _schemas(schema.get("prefixItems"))
    for name in (*_ELSEWHERE, *_UNEVALUATED):
        inner = schema.get(name)
        yield from _schemas(inner if isinstance(inner, list) else [inner])


def _schemas(listed: JsonValue) -> list[Schema]:
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _values(mapped: JsonValue) -> list[Schema]:
    return _schemas(list(mapped.values())) if isinstance(mapped, dict) else []
