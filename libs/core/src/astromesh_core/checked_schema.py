"""JSON Schemas that may come from anybody, and checks by them that are over soon. What they cost: `schema_effort`.

Nothing is fetched. A check runs in the event loop and cannot be stopped, so what would take long is not begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_core.schema_effort import USUAL_LEVELS, SchemaEffort

if TYPE_CHECKING:
    import jsonschema_rs

MOST_LEVELS = 100
"""How deep a schema and a value may be nested: whoever sends them on nests them deeper, and JSON is written to 254
levels."""

MOST_CHECKS = 2_000_000
"""Of one value: some tenths of a second."""

MOST_CHECKS_TOLD_APART = 20_000
"""Beyond it only the first error is told: each costs as much as hundreds of checks, and all are made before one is."""

CHARACTERS_OF_A_VALUE = 64
"""How long a text is that costs as much as another value."""

BACKTRACKS = 1_000
"""Of one regular expression on one text, beyond which it does not match."""


class TooMuchToCheck(InvalidInput):
    """A value is larger than its schema can be checked for."""


class CheckedSchema:
    """A JSON Schema (draft 2020-12 unless it names another), compiled.

    Raises InvalidInput where it is none, refers to another document, or asks for more checks than anybody needs. The
    message goes on a sentence about the schema.
    """

    def __init__(self, schema: Mapping[str, JsonValue]) -> None:
        # Imported at the first schema: it takes 40 ms, and most runs have none.
        import jsonschema_rs

        whole = dict(schema)
        if _levels(whole) > MOST_LEVELS:
            raise InvalidInput(f"is nested more than {MOST_LEVELS} levels deep")
        self._effort = SchemaEffort(whole)
        patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS)
        try:
            self._validator: jsonschema_rs.Validator = jsonschema_rs.validator_for(
                whole, offline=True, pattern_options=patterns
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            told = getattr(error, "message", "") or str(error)
            raise InvalidInput(f"is no JSON Schema that can be used: {told[:300]}") from error

    def errors(self, text: str, value: JsonValue) -> list[jsonschema_rs.ValidationError]:
        """What is wrong with a value, all of it where that is not much; `text` is its JSON. Raises TooMuchToCheck."""
        values, depth = _size(text, value)
        each = self._effort.at(depth)
        if depth > MOST_LEVELS or (values + len(text) // CHARACTERS_OF_A_VALUE) * each > MOST_CHECKS:
            raise TooMuchToCheck("is too large, or nested too deep, to be checked by its schema")
        if self._validator.is_valid(value):
            return []
        if values * each <= MOST_CHECKS_TOLD_APART:
            return list(self._validator.iter_errors(value))
        return self._first_error(value)

    def _first_error(self, value: JsonValue) -> list[jsonschema_rs.ValidationError]:
        import jsonschema_rs

        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [error]
        return []


def _size(text: str, value: JsonValue) -> tuple[int, int]:
    """How many values a text holds, at most, and how deep they are nested, or may be where that is not much."""
    nested = text.count("[") + text.count("{")
    return 1 + nested + text.count(","), nested if nested <= USUAL_LEVELS else _levels(value)


def _levels(value: JsonValue) -> int:
    """How deep a value is nested: 0 for one that holds no others."""
    depth = 0
    layer: list[JsonValue] = [value]
    while layer := [inner for each in layer for inner in _inner(each)]:
        depth += 1
    return depth


def _inner(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
