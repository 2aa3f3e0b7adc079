"""Answers that have to match a JSON Schema: whether a schema is one, and what is wrong with an answer.

Pure. A run's replay judges its answers anew and has to come to the same words: they are ours, made of nothing but where
a rule is broken and which, and never a library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import orjson
from pydantic import JsonValue

from astromesh_core.checked_schema import CheckedSchema, TooMuchToCheck
from astromesh_core.errors import InvalidInput

if TYPE_CHECKING:
    import jsonschema_rs

MOST_BYTES = 64 * 1024
"""Of a schema: it goes with every call of a model."""

MOST_PROBLEMS = 10
"""Told of one answer."""

SHOWN = 200
"""Characters of a value that is quoted."""

NOT_JSON = "it is no JSON: nothing but one JSON value may stand in it, no code fence and no text around it"


class AnswerSchema:
    """A JSON Schema (draft 2020-12 unless it names another), compiled. Raises InvalidInput where it is none."""

    def __init__(self, text: str) -> None:
        self._schema = CheckedSchema(_read(text))

    def problems(self, answer: str) -> list[str]:
        """What is wrong with an answer, each with its place, in a fixed order; nothing where it matches."""
        try:
            errors = self._schema.errors(answer, orjson.loads(answer))
        except orjson.JSONDecodeError:
            return [NOT_JSON]
        except TooMuchToCheck as error:
            return [f"it {error.message}"]
        return sorted(set(map(_problem, errors)))[:MOST_PROBLEMS]


@lru_cache(maxsize=64)
def answer_schema(text: str) -> AnswerSchema:
    """The schema of this JSON text, compiled once. Raises InvalidInput."""
    return AnswerSchema(text)


def parsed_answer(answer: str) -> JsonValue:
    """The value that an answer is; None for one that is no JSON (it was erased)."""
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None


def _read(text: str) -> dict[str, JsonValue]:
    if len(text.encode()) > MOST_BYTES:
        raise InvalidInput(f"has more than {MOST_BYTES // 1024} KiB")
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput("is no JSON object")
    return cast("dict[str, JsonValue]", value)


def _problem(error: jsonschema_rs.ValidationError) -> str:
    rule, limit = error.kind.name, _limit(error.kind.value)
    return f"{_pointer(error.instance_path)}: {_broken(rule, limit, cast('JsonValue', error.instance))}"


def _limit(value: object) -> str:
    """What a rule asks for, as JSON; nothing where it asks for one of several things, of which none was done."""
    listed = cast("list[object]", value) if isinstance(value, list) else None
    if listed is not None and all(isinstance(each, str) for each in listed):
        value = sorted(cast("list[str]", listed))
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return ""


def _pointer(path: Sequence[str | int]) -> str:
    """RFC 6901; the whole has a word of its own, for an empty text says nothing."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in steps) or "the whole"


def _broken(rule: str, limit: str, value: JsonValue) -> str:
    if rule == "required":
        return f"the property {limit} is missing"
    if rule in ("additionalProperties", "unevaluatedProperties"):
        return f"the properties {limit} are not allowed"
    asked = f"{rule} {limit}" if limit else rule
    return f"{_shortened(orjson.dumps(value).decode())} does not satisfy {_shortened(asked)}"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
