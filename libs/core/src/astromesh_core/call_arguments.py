"""The arguments of a tool call, read and checked by the tool's JSON Schema as the catalogue has it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import orjson
from pydantic import JsonValue

from astromesh_core.checked_schema import CheckedSchema, TooMuchToCheck
from astromesh_core.errors import InvalidInput

_MOST_PROBLEMS: Final = 5


def read_arguments(text: str, schema_json: str) -> dict[str, JsonValue]:
    """The arguments, an object that fits the schema. Raises InvalidInput that tells what is wrong, and where."""
    return checked_arguments(text, _schema(schema_json or "{}"))


def checked_arguments(text: str, schema: CheckedSchema) -> dict[str, JsonValue]:
    """The same by a schema that is compiled already."""
    try:
        value: JsonValue = orjson.loads(text or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the arguments are not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput("the arguments must be a JSON object of parameters by name")
    try:
        errors = schema.errors(text, value)
    except TooMuchToCheck as error:
        raise InvalidInput(f"the JSON of the arguments {error.message}: give less at once") from error
    if errors:
        problems = "; ".join(_located(error.message, error.instance_path) for error in errors[:_MOST_PROBLEMS])
        raise InvalidInput(f"the arguments do not fit the tool's schema: {problems}")
    return value


@lru_cache(maxsize=128)
def _schema(text: str) -> CheckedSchema:
    return CheckedSchema(orjson.loads(text))


def _located(message: str, path: list[str | int]) -> str:
    return f"{'.'.join(map(str, path))}: {message}" if path else message
