"""Budgets: how much agents, namespaces and API keys may spend on models. Enforcing them is the router's."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.references import Name
from astromesh_core.resources.spelling import Spec


class Allowance(Spec):
    """How much may be spent: US dollars, tokens (of prompts and replies together), or both."""

    usd: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.usd is None and self.tokens is None:
            raise PydanticCustomError("allowance", "bounds nothing", {"hint": "write usd or tokens"})
        return self


class Budget(Spec):
    """Allowances of a run, and of a calendar day and month in UTC."""

    per_run: Allowance | None = None
    per_day: Allowance | None = None
    per_month: Allowance | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if not (self.per_run or self.per_day or self.per_month):
            hint = "write per_run, per_day or per_month"
            raise PydanticCustomError("budget", "bounds nothing", {"hint": hint})
        return self

    @property
    def counts_money(self) -> bool:
        """Whether any of its allowances is in US dollars."""
        allowances = (self.per_run, self.per_day, self.per_month)
        return any(allowance is not None and allowance.usd is not None for allowance in allowances)


class ScopedBudget(Budget):
    """A budget of everything in a namespace, or of all that comes in with one API key."""

    namespace: Name | None = None
    api_key: Name | None = None
    """The key's name in `api_keys`."""

    @model_validator(mode="after")
    def _has_one_scope(self) -> Self:
        if (self.namespace is None) == (self.api_key is None):
            hint = "write namespace or api_key"
            raise PydanticCustomError("budget", "has no scope of its own, or two", {"hint": hint})
        return self
