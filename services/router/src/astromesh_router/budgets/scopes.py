"""Whose budgets a call falls under, and which bounds they set. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from astromesh_core.resources.budgets import Allowance, Budget, ScopedBudget
from astromesh_router.budgets.windows import NANOS, Window, window_of

Unit = Literal["usd", "tokens"]
"""Money is counted in 1e-9 US dollars."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a call costs, or may cost, in each unit."""

    usd: int = 0
    tokens: int = 0

    def of(self, unit: Unit) -> int:
        """In this unit."""
        return self.usd if unit == "usd" else self.tokens

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.usd + other.usd, self.tokens + other.tokens)


NOTHING = Amounts()


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose spending is counted. What is empty does not matter: a key spends in every namespace."""

    namespace: str = ""
    agent: str = ""
    api_key: str = ""

    @property
    def told(self) -> str:
        """How users know it."""
        if self.agent:
            return f"agent {self.namespace}/{self.agent}"
        return f"API key {self.api_key}" if self.api_key else f"namespace {self.namespace}"

    @property
    def declared(self) -> str:
        """Where its budget is written."""
        return "spec.budget" if self.agent else "spec.budgets of the RuntimeConfig"

    @property
    def kind(self) -> Literal["agent", "namespace", "api_key"]:
        """Of what it is."""
        return "agent" if self.agent else "api_key" if self.api_key else "namespace"

    @property
    def key(self) -> str:
        """Its part of a record's key. Namespaces, agents and keys are DNS labels, so that no part holds a dot."""
        return ".".join(part for part in (self.kind, self.namespace, self.agent, self.api_key) if part)


@dataclass(frozen=True, slots=True)
class Scoped:
    """A budget and whose it is."""

    scope: Scope
    budget: Budget


@dataclass(frozen=True, slots=True)
class Account:
    """What one scope may spend in one window, in one unit."""

    scope: Scope
    window: Window
    unit: Unit

    @property
    def key(self) -> str:
        """Names its record in KV `budgets`."""
        return f"{self.window.name}.{self.unit}.{self.scope.key}"


@dataclass(frozen=True, slots=True)
class Bound:
    """How much an account may come to."""

    account: Account
    limit: int


@dataclass(frozen=True, slots=True)
class RunBound:
    """How much each run of a scope may come to."""

    scope: Scope
    unit: Unit
    limit: int


def scoped_budgets(
    namespace: str, agent: str, api_key: str, own: Budget | None, configured: Iterable[ScopedBudget]
) -> list[Scoped]:
    """The budgets of a call by this agent of a namespace that came in with this key."""
    found = [Scoped(Scope(namespace, agent), own)] if own is not None else []
    for budget in configured:
        if budget.namespace == namespace:
            found.append(Scoped(Scope(namespace), budget))
        elif budget.api_key is not None and budget.api_key == api_key:
            found.append(Scoped(Scope(api_key=api_key), budget))
    return found


def bounds_of(budgets: Iterable[Scoped], now: int) -> Sequence[Bound]:
    """What these budgets allow today and in this month; of two bounds for one account the tighter."""
    tightest: dict[Account, int] = {}
    for account, limit in (pair for scoped in budgets for pair in _bounds(scoped, now)):
        tightest[account] = min(limit, tightest.get(account, limit))
    return [Bound(account, limit) for account, limit in tightest.items()]


def run_bounds_of(budgets: Iterable[Scoped]) -> Sequence[RunBound]:
    """What these budgets allow a single run."""
    return [RunBound(each.scope, unit, limit) for each in budgets for unit, limit in _limits(each.budget.per_run)]


def _bounds(scoped: Scoped, now: int) -> Iterator[tuple[Account, int]]:
    budget = scoped.budget
    for allowance, window in ((budget.per_day, window_of("day", now)), (budget.per_month, window_of("month", now))):
        for unit, limit in _limits(allowance):
            yield Account(scoped.scope, window, unit), limit


def _limits(allowance: Allowance | None) -> Iterator[tuple[Unit, int]]:
    if allowance is not None and allowance.usd is not None:
        yield "usd", round(allowance.usd * NANOS)
    if allowance is not None and allowance.tokens is not None:
        yield "tokens", allowance.tokens
