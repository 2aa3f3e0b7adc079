"""Guardrail rules on what stands in a text: forbidden words and patterns, and the form of JSON."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.answer_schemas import AnswerSchemaText
from astromesh_core.resources.spelling import Items, Spec, shaped, spelled
from astromesh_core.safe_patterns import SafePattern

Action: TypeAlias = Literal["redact", "block", "warn"]
Severity: TypeAlias = Literal["low", "medium", "high", "critical"]
Keyword = Annotated[str, shaped(r"\S+(?: \S+)*", "a word, or words with one space between them", "internal_only")]
Tag = Annotated[str, shaped(r"[A-Z][A-Z0-9_]{0,39}", "a name in capitals", "PROJECT_CODE")]


def _taken(pattern: str) -> str:
    try:
        SafePattern(pattern)
    except InvalidInput as error:
        raise PydanticCustomError("pattern", "{told}", {"told": error.message}) from error
    return pattern


PatternText = Annotated[str, Field(max_length=4_096), AfterValidator(_taken)]
"""A regular expression as RE2 takes it."""


class ContentPattern(Spec):
    """A regular expression; text alone stands for one with nothing else said of it."""

    pattern: PatternText
    kind: Tag = "PATTERN"
    """What is written over it, in brackets, and stands in the verdict."""
    ignore_case: bool = False
    severity: Severity | None = None
    """None: the rule's."""
    action: Action | None = None
    """None: the rule's."""


def _pattern(value: object) -> object:
    return {"pattern": value} if isinstance(value, str) else value


class ContentFilter(Spec):
    """Finds forbidden words and phrases, whatever their case, where they stand as words of their own, and patterns."""

    type: Literal["content_filter"]
    forbidden_keywords: Items[Keyword] = Field(default=(), validation_alias=spelled("forbidden_keywords", "keywords"))
    forbidden_patterns: Items[Annotated[ContentPattern, BeforeValidator(_pattern)]] = Field(
        default=(), validation_alias=spelled("forbidden_patterns", "patterns", "regex")
    )
    severity: Severity | None = None
    """Stands with each finding in the verdict, for whoever reads or counts them."""
    action: Action = "block"

    @model_validator(mode="after")
    def _forbids_something(self) -> Self:
        if not (self.forbidden_keywords or self.forbidden_patterns):
            hint = "write forbidden_keywords or forbidden_patterns"
            raise PydanticCustomError("content", "forbids nothing", {"hint": hint})
        return self


class JsonForm(Spec):
    """Lets only JSON through that matches a schema."""

    type: Literal["json_schema"]
    json_schema: AnswerSchemaText = Field(validation_alias=spelled("json_schema", "schema"))
    action: Literal["block", "warn"] = "block"
