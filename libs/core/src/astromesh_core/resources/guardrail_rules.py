"""The rules that an agent's input and output must pass. Applying them is the guardrails service's."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.guardrail_content import ContentFilter, JsonForm
from astromesh_core.resources.guardrail_costs import CostLimit
from astromesh_core.resources.guardrail_meaning import Grounding, PromptInjection, TopicFilter
from astromesh_core.resources.spelling import Items, Spec, shaped, spelled

PiiKind = Literal["email", "phone", "iban", "credit_card", "us_ssn", "ip_address", "secret"]
Country = Annotated[str, shaped(r"[A-Z]{2}", "a country of ISO 3166", "US")]
"""ISO 3166 alpha-2."""


class PiiDetection(Spec):
    """Finds personal data: redacts it, masks it with tokens that are undone in the answer to the same user, blocks the
    text, or lets it through with a warning in the verdict."""

    type: Literal["pii_detection"]
    action: Literal["redact", "mask", "block", "warn"] = "redact"
    kinds: Items[PiiKind] = Field(default=(), validation_alias=spelled("kinds", "entities"))
    """What to look for; empty: everything."""
    countries: Items[Country] = ("US",)
    """Whose national telephone numbers are known; international ones always are."""
    restore_in: Items[str] = ()
    """Tools that are called with what the tokens stand for; every other one is called with the tokens."""

    @model_validator(mode="after")
    def _restores_what_it_masks(self) -> Self:
        if self.restore_in and self.action != "mask":
            hint = "restore_in says which tools get what `action: mask` took out"
            raise PydanticCustomError("restore", "restores what it does not mask", {"hint": hint})
        return self


class MaxLength(Spec):
    """Bounds the length of a text, in characters, in tokens, or in both."""

    type: Literal["max_length"]
    max_characters: int | None = Field(default=None, ge=1, validation_alias=spelled("max_characters", "max_chars"))
    max_tokens: int | None = Field(default=None, ge=1)
    """As the agent's model counts them where its tokenizer is on this machine, else about."""
    action: Literal["block", "truncate"] = "block"

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max_characters is None and self.max_tokens is None:
            raise PydanticCustomError("length", "bounds nothing", {"hint": "write max_characters or max_tokens"})
        return self


TextRule: TypeAlias = PiiDetection | MaxLength | ContentFilter | TopicFilter | PromptInjection | JsonForm
"""What can be said of any text."""

AnyTextRule = Annotated[TextRule, Field(discriminator="type")]
InputRule = Annotated[TextRule | CostLimit, Field(discriminator="type")]
OutputRule = Annotated[TextRule | CostLimit | Grounding, Field(discriminator="type")]
Rule: TypeAlias = TextRule | CostLimit | Grounding
