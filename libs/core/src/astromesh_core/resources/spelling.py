"""The base of every spec model, and the spellings that it accepts for one field. No field of any kind stands here."""

from __future__ import annotations

import re
from typing import Annotated, Self, TypeGuard, TypeVar

import orjson
from pydantic import AfterValidator, AliasChoices, AliasGenerator, BaseModel, ConfigDict, JsonValue, Strict
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

Item = TypeVar("Item")

Items = Annotated[tuple[Item, ...], Strict(False)]
"""A YAML list, kept as a tuple: strict in its items, and nobody can change a resource that others share."""


def spelled(*names: str) -> AliasChoices:
    """Accepts a field under each name, in snake_case and in camelCase. The first name is the canonical one."""
    both = [spelling for name in names for spelling in (name, to_camel(name))]
    return AliasChoices(*dict.fromkeys(both))


def snake(word: str) -> str:
    """Turns `chunkSize` into `chunk_size`; leaves snake_case alone."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", word).lower()


def shaped(pattern: str, what: str, example: str) -> AfterValidator:
    """Lets text of a shape through; says what is wanted, with an example, instead of the pattern."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if compiled.fullmatch(text):
            return text
        raise PydanticCustomError("shape", "is not {what}", {"what": what, "hint": f"such as {example}"})

    return AfterValidator(check)


def is_mapping(value: object) -> TypeGuard[dict[str, JsonValue]]:
    """Whether a value of a document is a mapping; documents hold plain values with text keys only."""
    return isinstance(value, dict)


def _both_spellings(name: str) -> str | AliasChoices:
    return name if to_camel(name) == name else spelled(name)


class Spec(BaseModel):
    """A part of a resource: immutable, strict, and closed (a field that it does not name is refused).

    Fields are read in snake_case and in camelCase and written in snake_case.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=_both_spellings),
    )

    def to_json(self) -> str:
        """Writes the canonical JSON: snake_case, sorted keys, defaults spelled out, absent values left out."""
        plain = self.model_dump(mode="json", exclude_none=True)
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads canonical JSON back. Costs a full validation: callers keep the result by its hash.

        Raises pydantic.ValidationError for JSON that this version does not understand.
        """
        return cls.model_validate_json(text)
