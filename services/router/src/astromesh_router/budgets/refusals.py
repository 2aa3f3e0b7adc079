"""What a caller is told whose budget is spent: whose it is, what was spent of how much, and when it resets."""

from __future__ import annotations

from astromesh_core.errors import BudgetExceeded
from astromesh_router.budgets.scopes import Bound, RunBound, Scope, Unit
from astromesh_router.budgets.windows import NANOS

SOON_SECONDS = 10.0
"""When it is worth asking again where calls under way hold what is left."""


def exceeded(bound: Bound, spent: int, others: int, amount: int, now: int) -> BudgetExceeded:
    """The error of a call that needs `amount` where so much is spent, and `others` set aside for calls under way."""
    account = bound.account
    window, unit = account.window, account.unit
    aside = f" and {told(others, unit)} set aside for calls under way" if others > 0 else ""
    message = (
        f"the budget of {account.scope.told} for the {window.kind} {window.name} is spent: {told(spent, unit)}{aside} "
        f"of {told(bound.limit, unit)}; this call may take {told(amount, unit)}, and it resets at {window.resets_at} "
        f"({account.scope.declared}.per_{window.kind})"
    )
    only_aside = spent + amount <= bound.limit
    wait = max(1.0, (window.end - now) / NANOS)
    return BudgetExceeded(message, retry_after=min(wait, SOON_SECONDS) if only_aside else wait)


def run_exceeded(bound: RunBound, spent: int, amount: int) -> BudgetExceeded:
    """The error of a call that its run has not enough left for. Asking again in the same run cannot help."""
    return BudgetExceeded(
        f"the budget of each run of {bound.scope.told} is spent: {told(spent, bound.unit)} of "
        f"{told(bound.limit, bound.unit)}; this call may take {told(amount, bound.unit)} "
        f"({bound.declared or f'{bound.scope.declared}.per_run'})"
    )


def unpriced(label: str, scope: Scope) -> BudgetExceeded:
    """The error of a call to a model of which nobody knows what it costs, where a budget counts money."""
    return BudgetExceeded(
        f"{label} has no price, so nobody knows what it takes from the budget of {scope.told}; declare its "
        "cost_per_1k_tokens (0 where it is free)"
    )


def told(amount: int, unit: Unit) -> str:
    """An amount as people write it: $0.0125, 1,200 tokens."""
    if unit == "tokens":
        return f"{amount:,} tokens"
    whole, _, decimals = f"{amount / NANOS:,.9f}".partition(".")
    return f"${whole}.{decimals.rstrip('0').ljust(2, '0')}"
