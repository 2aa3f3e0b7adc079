"""What keeps a tool within bounds, whatever its type: how many calls, how often, until when it is left alone, what is
answered again, how much a model reads. Keeping to it is the tools service's."""

from __future__ import annotations

from typing import Final, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.circuit_breakers import CircuitBreaker
from astromesh_core.resources.spelling import Spec

_RUNS: Final = frozenset(("agent",))
"""Types whose calls are runs of their own."""


class RateLimit(Spec):
    """At most so many calls begin within any window of this length."""

    max_calls: int = Field(ge=1, le=100_000)
    window_seconds: float = Field(default=60, gt=0, le=86_400)


class ToolCache(Spec):
    """Answers are given again to equal arguments, for so long, the newest so many of them."""

    ttl_seconds: float = Field(gt=0, le=604_800)
    max_entries: int = Field(default=256, ge=1, le=10_000)


class ToolControls(Spec):
    """The bounds of a tool. Of calls they hold for its agent, in each process that executes tools."""

    max_concurrency: int | None = Field(default=None, ge=1, le=1_000)
    rate_limit: RateLimit | None = None
    circuit_breaker: CircuitBreaker | None = None
    cache: ToolCache | None = None
    max_result_bytes: int | None = Field(default=None, ge=256, le=4_000_000)
    """Of a result that a model reads, in UTF-8. None: 100,000, unless tokens are counted."""
    max_result_tokens: int | None = Field(default=None, ge=64, le=1_000_000)
    """As estimated without the model's tokenizer."""

    @property
    def bounds_calls(self) -> bool:
        """Whether a call may have to wait, or be refused."""
        return any((self.max_concurrency, self.rate_limit, self.circuit_breaker))

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        effect, kind = getattr(self, "effect", None), getattr(self, "type", "")
        if self.max_result_bytes is not None and self.max_result_tokens is not None:
            raise PydanticCustomError("limit", "counts its results twice", {"hint": "in bytes or in tokens"})
        if self.cache is not None and effect in ("write", "idempotent"):
            context = {"effect": effect, "hint": "declare effect: read where a call changes nothing"}
            raise PydanticCustomError("cache", "caches what changes something: its effect is {effect}", context)
        told = sorted(self.model_fields_set & ToolControls.model_fields.keys())
        if kind in _RUNS and told:
            context = {"name": told[0], "hint": "bound the runs of the agent that it calls"}
            raise PydanticCustomError("limit", "has {name}, and its calls are runs of their own", context)
        return self
