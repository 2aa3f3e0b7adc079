"""Sets the expected cost of calls aside in every budget that they fall under, and settles what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Charge, Usage
from astromesh_core.errors import AstromeshError, BudgetExceeded
from astromesh_core.resources.budgets import Budget, ScopedBudget
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.metrics import Metrics
from astromesh_router.budgets.accounts import SharedAccount
from astromesh_router.budgets.refusals import unpriced
from astromesh_router.budgets.runs import RunBudgets
from astromesh_router.budgets.scopes import NOTHING, Account, Amounts, Applicable, Spender, applicable
from astromesh_router.budgets.turning import AskLog, Records
from astromesh_router.budgets.windows import DAY_NANOS
from astromesh_router.candidates import Pool
from astromesh_router.ports import Ranked, Reservation

KEEP_SECONDS = 2.0
"""Between two rounds through the accounts: so long may lie idle what others lack."""

KNOWN_SPENDERS = 10_000
"""Agents and keys whose budgets are kept together."""

_log = logger(__name__)


class Configured(Protocol):
    """The budgets of namespaces and API keys."""

    async def all(self) -> Sequence[ScopedBudget]:
        """Every one. Raises Unavailable where they are not known."""
        ...


class BudgetedPurse:
    """The purse of one replica, which `holder` names: unique among all that ever ran. `now` is Unix nanoseconds."""

    def __init__(
        self,
        holder: str,
        records: Records,
        configured: Configured,
        ask_log: AskLog,
        metrics: Metrics,
        now: Callable[[], int],
    ) -> None:
        self._refusals = metrics.budget_refusals
        self._holder = holder
        self._records = records
        self._configured = configured
        self._ask_log = ask_log
        self._now = now
        self._accounts: dict[str, SharedAccount] = {}
        self._known: dict[Spender, _Known] = {}
        self._runs = RunBudgets()
        self._numbers = count(1)

    async def reserve(self, request: CompleteRequest, pool: Pool, ranked: Ranked) -> Reservation:
        """Sets the expected cost aside in each budget. Raises BudgetExceeded, naming the one that has too little left,
        and Unavailable where what is left cannot be looked up.

        A candidate that is free takes no money; budgets of tokens bound it all the same. One whose price nobody knows
        is beyond every budget of money.
        """
        configured = await self._configured.all()
        if pool.budget is None and not configured and not request.inherited:
            return UNBOUND
        candidate, budgets = ranked.candidate, self._budgets_of(request, pool, configured)
        if request.inherited:
            budgets = budgets.with_inherited(request.inherited)
        if budgets.money is not None and not candidate.priced:
            raise unpriced(candidate.label, budgets.money)
        if candidate.prices.free:
            budgets = budgets.in_tokens()
        if not (budgets.bounds or budgets.run_bounds):
            return UNBOUND
        expected = ranked.expect()
        amounts = Amounts(max(1, expected.cost_nanos), max(1, tokens_of(expected.usage)))
        return await self._reserve(request, budgets, amounts)

    async def _reserve(self, request: CompleteRequest, budgets: Applicable, expected: Amounts) -> Reservation:
        run_id = request.run_id
        call = f"{run_id}:{request.path}:{request.attempt}:{next(self._numbers)}"
        reserved = Reserved(call, self._runs if budgets.run_bounds and run_id else None, run_id)
        whose = "run"
        try:
            if reserved.runs is not None:
                reserved.runs.reserve(call, request, budgets.run_bounds, expected)
            for bound in budgets.bounds:
                whose, account = bound.account.scope.kind, self._account(bound.account)
                await account.reserve(call, expected.of(bound.account.unit), bound)
                reserved.accounts.append(account)
        except BaseException as error:
            reserved.release()
            if isinstance(error, BudgetExceeded):
                self._refusals.labels(whose).inc()
            raise
        return reserved

    def _budgets_of(self, request: CompleteRequest, pool: Pool, configured: Sequence[ScopedBudget]) -> Applicable:
        """What a request falls under; kept, for it changes only with the day and with what is declared."""
        namespace, agent = request.agent.namespace, pool.agent.partition("/")[2]
        spender, now = Spender(namespace, agent, request.principal), self._now()
        known = self._known.get(spender)
        if known is not None and known.holds(pool.budget, configured, now):
            return known.budgets
        budgets = applicable(spender, pool.budget if agent else None, configured, now)
        if len(self._known) >= KNOWN_SPENDERS:
            self._known.clear()
        self._known[spender] = _Known(pool.budget, configured, now // DAY_NANOS, budgets)
        return budgets

    async def keep(self) -> None:
        """Renews slices, reports what was spent, and gives back what lies idle. To be called every two seconds."""
        for account in list(self._accounts.values()):
            key = account.account.key
            try:
                await account.keep()
            except AstromeshError as error:
                _log.warning("a budget is kept later", budget=key, reason=error.message)
            if account.idle and self._accounts.get(key) is account:
                del self._accounts[key]

    async def close(self) -> None:
        """Reports what was spent and gives back everything."""
        for key, account in list(self._accounts.items()):
            try:
                await account.close()
            except AstromeshError as error:
                _log.warning("a budget is left to the log", budget=key, reason=error.message)

    def _account(self, account: Account) -> SharedAccount:
        shared = self._accounts.get(account.key)
        if shared is None:
            shared = SharedAccount(account, self._holder, self._records, self._ask_log, self._now)
            self._accounts[account.key] = shared
        return shared


@dataclass(frozen=True, slots=True)
class _Known:
    own: Budget | None
    configured: Sequence[ScopedBudget]
    day: int
    budgets: Applicable

    def holds(self, own: Budget | None, configured: Sequence[ScopedBudget], now: int) -> bool:
        return self.own is own and self.configured is configured and self.day == now // DAY_NANOS


class Reserved:
    """What is set aside for a call, in all its budgets."""

    def __init__(self, call: str, runs: RunBudgets | None, run_id: str) -> None:
        self.call = call
        self.runs = runs
        self.accounts: list[SharedAccount] = []
        self._run_id = run_id

    def settle(self, charge: Charge) -> None:
        """See Reservation.settle. Accounts know calls by name, and each of them once: settling twice is harmless."""
        self._settle(Amounts(charge.cost_nanos, tokens_of(charge.usage)))

    def release(self) -> None:
        """See Reservation.release."""
        self._settle(NOTHING)

    def _settle(self, amounts: Amounts) -> None:
        if self.runs is not None:
            self.runs.settle(self._run_id, self.call, amounts)
        for account in self.accounts:
            account.settle(self.call, amounts.of(account.account.unit))


class _Unbound:
    def settle(self, charge: Charge) -> None:
        """See Reservation.settle: no budget bounds this call."""

    def release(self) -> None:
        """See Reservation.release."""


UNBOUND: Reservation = _Unbound()


def tokens_of(usage: Usage) -> int:
    """What budgets of tokens count: prompts and replies together."""
    return usage.input_tokens + usage.output_tokens


@asynccontextmanager
async def keeping(purse: BudgetedPurse) -> AsyncGenerator[BudgetedPurse]:
    """A purse that is kept within the block, and closed at its end."""
    task = asyncio.create_task(_keep(purse), name="budgets")
    try:
        yield purse
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await purse.close()


async def _keep(purse: BudgetedPurse) -> None:
    while True:
        await asyncio.sleep(KEEP_SECONDS)
        await purse.keep()
