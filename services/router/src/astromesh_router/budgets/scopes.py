"""Whose budgets a call falls under, and which bounds they set. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from astromesh.v1.router_pb2 import Inherited
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


@dataclass(frozen=True)
class Account:
    """What one scope may spend in one window, in one unit."""

    scope: Scope
    window: Window
    unit: Unit

    @cached_property
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
    declared: str = ""
    """Where it is written, where that is not the scope's budget."""


@dataclass(frozen=True, slots=True)
class Spender:
    """On whose budgets a call goes."""

    namespace: str
    agent: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Applicable:
    """The budgets of a spender as bounds: of accounts, of each run, and those of either that count tokens alone."""

    bounds: Sequence[Bound] = ()
    run_bounds: Sequence[RunBound] = ()
    money: Scope | None = None
    """Of one that counts money."""

    def with_inherited(self, above: Iterable[Inherited]) -> Applicable:
        """The same for a run below others: what their budgets left to it bounds it as a budget of its own would."""
        bounds, money = list(self.run_bounds), self.money
        for each in above:
            scope = Scope(each.agent.namespace, each.agent.name)
            if each.HasField("left_cost_nanos"):
                bounds.append(RunBound(scope, "usd", each.left_cost_nanos, each.declared))
                money = money or scope
            if each.HasField("left_tokens"):
                bounds.append(RunBound(scope, "tokens", each.left_tokens, each.declared))
        return Applicable(self.bounds, bounds, money)

    def in_tokens(self) -> Applicable:
        """What bounds a call that costs nothing."""
        return Applicable(
            [bound for bound in self.bounds if bound.account.unit == "tokens"],
            [bound for bound in self.run_bounds if bound.unit == "tokens"],
        )


def applicable(spender: Spender, own: Budget | None, configured: Iterable[ScopedBudget], now: int) -> Applicable:
    """What these budgets allow a spender today and in this month; of two bounds for one account the tighter."""
    budgets = list(_scoped(spender, own, configured))
    tightest: dict[Account, int] = {}
    for account, limit in (pair for scoped in budgets for pair in _bounds(scoped, now)):
        tightest[account] = min(limit, tightest.get(account, limit))
    return Applicable(
        [Bound(account, limit) for account, limit in tightest.items()],
        [RunBound(each.scope, unit, limit) for each in budgets for unit, limit in _limits(each.budget.per_run)],
        next((each.scope for each in budgets if each.budget.counts_money), None),
    )


def _scoped(spender: Spender, own: Budget | None, configured: Iterable[ScopedBudget]) -> Iterator[Scoped]:
    if own is not None:
        yield Scoped(Scope(spender.namespace, spender.agent), own)
    for budget in configured:
        if budget.namespace == spender.namespace:
            yield Scoped(Scope(spender.namespace), budget)
        elif budget.api_key is not None and budget.api_key == spender.api_key:
            yield Scoped(Scope(api_key=spender.api_key), budget)


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
