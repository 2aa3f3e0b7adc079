"""The guardrail rule on what a run may use. The runtime judges it before each call of a model."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.spelling import Spec, spelled

_BOUNDS: Final = ("max_tokens_per_turn", "max_tokens_per_run", "max_cost_per_turn", "max_cost_per_run")


class CostLimit(Spec):
    """Bounds what a turn or a run may use, in tokens of prompts and replies together, or in US dollars.

    A turn is a question and its answer: the model calls of the run itself. The run is these and all that the runs use
    that it starts.
    """

    type: Literal["cost_limit"]
    max_tokens_per_turn: int | None = Field(default=None, ge=1)
    max_tokens_per_run: int | None = Field(default=None, ge=1)
    max_cost_per_turn: float | None = Field(
        default=None, gt=0, validation_alias=spelled("max_cost_per_turn", "max_usd_per_turn")
    )
    max_cost_per_run: float | None = Field(
        default=None, gt=0, validation_alias=spelled("max_cost_per_run", "max_usd_per_run")
    )
    action: Literal["block", "warn"] = "block"

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if all(getattr(self, bound) is None for bound in _BOUNDS):
            raise PydanticCustomError("cost", "bounds nothing", {"hint": f"write {' or '.join(_BOUNDS)}"})
        return self
