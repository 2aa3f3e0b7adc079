"""The rules that an agent's input and output must pass. Applying them is the guardrails service's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from astromesh_core.resources.spelling import Items, Spec, shaped, spelled

PiiKind = Literal["email", "phone", "iban", "credit_card", "us_ssn", "ip_address", "secret"]
Country = Annotated[str, shaped(r"[A-Z]{2}", "a country of ISO 3166", "US")]
"""ISO 3166 alpha-2."""
Keyword = Annotated[str, shaped(r"\S+(?: \S+)*", "a word, or words with one space between them", "internal_only")]


class PiiDetection(Spec):
    """Finds personal data: redacts it, blocks the text, or lets it through with a warning in the verdict."""

    type: Literal["pii_detection"]
    action: Literal["redact", "block", "warn"] = "redact"
    kinds: Items[PiiKind] = Field(default=(), validation_alias=spelled("kinds", "entities"))
    """What to look for; empty: everything."""
    countries: Items[Country] = ("US",)
    """Whose national telephone numbers are known; international ones always are."""


class MaxLength(Spec):
    """Bounds the length of a text, in characters."""

    type: Literal["max_length"]
    max_characters: int = Field(ge=1, validation_alias=spelled("max_characters", "max_chars"))
    action: Literal["block", "truncate"] = "block"


class ContentFilter(Spec):
    """Finds forbidden words and phrases, whatever their case, where they stand as words of their own."""

    type: Literal["content_filter"]
    forbidden_keywords: Items[Keyword] = Field(min_length=1)
    action: Literal["redact", "block", "warn"] = "block"


class TopicFilter(Spec):
    """Keeps a conversation to some topics, or away from them."""

    type: Literal["topic_filter"]
    allowed_topics: Items[str] = ()
    blocked_topics: Items[str] = ()
    action: Literal["block", "warn"] = "block"


class CostLimit(Spec):
    """Bounds what one turn may use."""

    type: Literal["cost_limit"]
    max_tokens_per_turn: int = Field(ge=1)
    action: Literal["block", "warn"] = "block"


Rule = Annotated[PiiDetection | MaxLength | ContentFilter | TopicFilter | CostLimit, Field(discriminator="type")]


class GuardrailsSpec(Spec):
    """Rules in the order in which they are applied."""

    input: Items[Rule] = ()
    output: Items[Rule] = ()
