"""Four replicas of the router on one real server, whose calls all fall under the same budgets at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from astromesh.v1.budget_pb2 import BudgetRecord
from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Charge, ResourceRef, Usage
from astromesh_core.bus.budget_store import BudgetStore, StoredBudget
from astromesh_core.errors import BudgetExceeded, Conflict
from astromesh_core.resources.budgets import Budget, ScopedBudget
from astromesh_core.telemetry.metrics import Metrics
from astromesh_router.budgets.purse import BudgetedPurse
from astromesh_router.budgets.records import set_aside, spent_of
from astromesh_router.budgets.scopes import Account
from astromesh_router.budgets.windows import NANOS
from astromesh_router.candidates import Candidate, Pool, Prices
from astromesh_router.ports import Expected, Ranked, Reservation
from astromesh_testing.nats import NatsServer

NOON = 1_772_366_400 * NANOS
"""2026-03-01T12:00:00Z."""
PRICED = Candidate("openai", "openai_compat", "stub-1", prices=Prices(0.001, 0.002))
FREE = Candidate("ollama", "ollama", "llama3.1:8b")
DOLLAR = NANOS


class Declared:
    """The budgets of the mesh."""

    def __init__(self, *budgets: ScopedBudget) -> None:
        self.budgets = budgets

    async def all(self) -> tuple[ScopedBudget, ...]:
        return self.budgets


class CountedStore:
    """The store, and how often it was written and refused to."""

    def __init__(self, store: BudgetStore) -> None:
        self._store = store
        self.writes = self.conflicts = self.reads = 0

    async def get(self, key: str) -> StoredBudget:
        self.reads += 1
        return await self._store.get(key)

    async def put(self, key: str, record: BudgetRecord, *, expected: int, ttl: int) -> int:
        try:
            revision = await self._store.put(key, record, expected=expected, ttl=ttl)
        except Conflict:
            self.conflicts += 1
            raise
        self.writes += 1
        return revision


@dataclass
class Mesh:
    """Replicas that share a server, a clock and a log."""

    now: int = NOON
    metrics: Metrics = field(default_factory=Metrics)
    logged: dict[str, int] = field(default_factory=dict[str, int])
    stores: list[CountedStore] = field(default_factory=list[CountedStore])
    purses: list[BudgetedPurse] = field(default_factory=list[BudgetedPurse])

    async def log(self, account: Account) -> int | None:
        return self.logged.get(f"{account.window.name}.{account.unit}", 0)

    def spend(self, day: str, charge: Charge) -> None:
        """The log learns of a call."""
        self.logged[f"{day}.usd"] = self.logged.get(f"{day}.usd", 0) + charge.cost_nanos

    @property
    def writes(self) -> int:
        return sum(store.writes for store in self.stores)

    async def record(self, key: str) -> BudgetRecord:
        return (await self.stores[0].get(key)).record or BudgetRecord()


@asynccontextmanager
async def replicas(nats: NatsServer, declared: Declared, count: int = 4) -> AsyncGenerator[Mesh]:
    mesh = Mesh()
    async with AsyncExitStack() as stack:
        for number in range(count):
            bus = await stack.enter_async_context(nats.bus("router", name=f"replica-{number}"))
            mesh.stores.append(CountedStore(bus.budgets))
            purse = BudgetedPurse(
                f"router-{number}", mesh.stores[-1], declared, mesh.log, mesh.metrics, lambda: mesh.now
            )
            mesh.purses.append(purse)
        yield mesh


def pool(budget: Budget | None = None) -> Pool:
    return Pool((PRICED, FREE), agent="default/docs", budget=budget)


def asked(number: int = 1, principal: str = "") -> CompleteRequest:
    agent = ResourceRef(kind="Agent", namespace="default", name="docs")
    return CompleteRequest(agent=agent, run_id=f"run-{number}", path="1", attempt=1, principal=principal)


def ranked(nanos: int, candidate: Candidate = PRICED, tokens: int = 100) -> Ranked:
    usage = Usage(input_tokens=tokens, estimated=True)
    return Ranked(candidate, "", lambda: Expected(usage, 0 if candidate is FREE else nanos))


def charge(nanos: int, tokens: int = 100) -> Charge:
    return Charge(cost_nanos=nanos, usage=Usage(input_tokens=tokens))


def per_day(usd: float) -> Budget:
    return Budget.model_validate({"per_day": {"usd": usd}})


@pytest.mark.parametrize("at_once", [1_000, 32])
@pytest.mark.parametrize(("limit", "fits"), [(2.0, False), (20.0, True)], ids=["scarce", "ample"])
async def test_a_thousand_calls_on_four_replicas_spend_no_more_than_there_is(
    nats: NatsServer, limit: float, fits: bool, at_once: int
) -> None:
    """Each is expected to cost a cent or half of one, and costs up to twice as much in the end: ten dollars in all."""
    rng = random.Random(17)
    room = asyncio.Semaphore(at_once)
    under_way = most = spent = beyond = served = 0

    async def call(mesh: Mesh, number: int, estimate: int, actual: int) -> None:
        nonlocal under_way, most, spent, beyond, served
        try:
            reservation = await mesh.purses[number % 4].reserve(asked(number), pool(per_day(limit)), ranked(estimate))
        except BudgetExceeded:
            return
        served += 1
        under_way += estimate
        most = max(most, spent + under_way - beyond)
        await asyncio.sleep(rng.uniform(0, 0.05))
        under_way -= estimate
        spent += actual
        beyond += max(0, actual - estimate)
        for _ in range(2):
            reservation.settle(charge(actual))

    async with replicas(nats, Declared()) as mesh:
        cent = DOLLAR // 100
        calls = [(rng.randint(cent // 2, cent), rng.randint(0, cent * 2)) for _ in range(1_000)]

        async def in_turn(number: int) -> None:
            async with room:
                await call(mesh, number, *calls[number])

        await asyncio.gather(*map(in_turn, range(len(calls))))
        for purse in mesh.purses:
            await purse.close()
        record = await mesh.record("2026-03-01.usd.agent.default.docs")
        writes = mesh.writes
    assert most <= limit * DOLLAR, "what is spent and set aside stays within the limit"
    assert spent <= limit * DOLLAR + beyond
    assert (spent_of(record), set_aside(record)) == (spent, 0)
    assert (served == 1_000) == fits
    assert fits or spent > 0.8 * limit * DOLLAR, "little of the budget is left lying"
    assert writes < 150


async def test_the_slice_of_a_replica_that_crashed_comes_back_and_what_it_spent_is_found_in_the_log(
    nats: NatsServer,
) -> None:
    async with replicas(nats, Declared(), count=2) as mesh:
        dead, other = mesh.purses
        budget = pool(per_day(1.0))
        (await dead.reserve(asked(1), budget, ranked(DOLLAR * 6 // 10))).settle(charge(DOLLAR // 10))
        await dead.reserve(asked(2), budget, ranked(DOLLAR * 4 // 10))
        mesh.spend("2026-03-01", charge(DOLLAR // 10))
        with pytest.raises(BudgetExceeded):
            await other.reserve(asked(3), budget, ranked(DOLLAR * 7 // 10))
        mesh.now += 21 * NANOS
        await other.reserve(asked(3), budget, ranked(DOLLAR * 7 // 10))
        with pytest.raises(BudgetExceeded):
            await other.reserve(asked(4), budget, ranked(DOLLAR * 3 // 10))


async def test_a_new_day_begins_with_a_new_budget_and_the_month_goes_on(nats: NatsServer) -> None:
    async with replicas(nats, Declared()) as mesh:
        budget = pool(Budget.model_validate({"per_day": {"usd": 1}, "per_month": {"usd": 1.5}}))
        mesh.now = NOON + 12 * 3_600 * NANOS - NANOS
        (await mesh.purses[0].reserve(asked(1), budget, ranked(DOLLAR * 9 // 10))).settle(charge(DOLLAR * 9 // 10))
        with pytest.raises(BudgetExceeded, match=r"for the day 2026-03-01.*resets at 2026-03-02T00:00:00Z"):
            await mesh.purses[0].reserve(asked(2), budget, ranked(DOLLAR // 2))
        mesh.now += NANOS
        await mesh.purses[0].reserve(asked(3), budget, ranked(DOLLAR // 2))
        with pytest.raises(BudgetExceeded, match=r"for the month 2026-03.*resets at 2026-04-01T00:00:00Z"):
            await mesh.purses[1].reserve(asked(4), budget, ranked(DOLLAR // 2))


async def reserved(mesh: Mesh, what: Pool, principal: str = "") -> Reservation:
    return await mesh.purses[0].reserve(asked(1, principal), what, ranked(DOLLAR))


async def test_budgets_of_the_namespace_and_of_the_key_bound_calls_too(nats: NatsServer) -> None:
    budgets = [
        {"namespace": "default", "per_day": {"usd": 2.5}},
        {"api_key": "support-team", "per_month": {"usd": 1.5}},
        {"namespace": "elsewhere", "per_day": {"usd": 0.1}},
    ]
    async with replicas(nats, Declared(*map(ScopedBudget.model_validate, budgets))) as mesh:
        await reserved(mesh, pool(), "support-team")
        with pytest.raises(BudgetExceeded, match="budget of API key support-team for the month"):
            await reserved(mesh, pool(), "support-team")
        await reserved(mesh, pool(), "another-team")
        with pytest.raises(BudgetExceeded, match="budget of namespace default for the day"):
            await reserved(mesh, pool(), "another-team")
        refused = {
            scope: mesh.metrics.registry.get_sample_value("astromesh_budget_refusals_total", {"scope": scope})
            for scope in ("namespace", "api_key", "agent")
        }
        assert refused == {"namespace": 1, "api_key": 1, "agent": None}


async def test_a_model_without_a_price_takes_no_money_and_is_bounded_in_tokens(nats: NatsServer) -> None:
    async with replicas(nats, Declared(), count=1) as mesh:
        budget = pool(Budget.model_validate({"per_day": {"usd": 0.001, "tokens": 150}}))
        with pytest.raises(BudgetExceeded, match=r"\$"):
            await mesh.purses[0].reserve(asked(1), budget, ranked(DOLLAR))
        await mesh.purses[0].reserve(asked(1), budget, ranked(0, FREE))
        with pytest.raises(BudgetExceeded, match="100 tokens set aside for calls under way of 150 tokens"):
            await mesh.purses[0].reserve(asked(1), budget, ranked(0, FREE))


async def test_a_model_whose_price_nobody_knows_is_beyond_every_budget_of_money(nats: NatsServer) -> None:
    unknown = Candidate("openai", "openai_compat", "gpt-9", priced=False)
    async with replicas(nats, Declared(), count=1) as mesh:
        with pytest.raises(BudgetExceeded, match=r"openai gpt-9 has no price.*agent default/docs.*cost_per_1k_tokens"):
            await mesh.purses[0].reserve(asked(), pool(per_day(1)), ranked(0, unknown))
        in_tokens = pool(Budget.model_validate({"per_day": {"tokens": 150}}))
        await mesh.purses[0].reserve(asked(), in_tokens, ranked(0, unknown))


async def test_a_call_that_one_budget_refuses_takes_nothing_from_the_others(nats: NatsServer) -> None:
    declared = Declared(ScopedBudget.model_validate({"namespace": "default", "per_day": {"usd": 0.5}}))
    async with replicas(nats, declared, count=1) as mesh:
        with pytest.raises(BudgetExceeded, match="namespace default"):
            await mesh.purses[0].reserve(asked(1), pool(per_day(1)), ranked(DOLLAR * 9 // 10))
        await mesh.purses[0].reserve(asked(1), pool(per_day(1)), ranked(DOLLAR // 2))


async def test_a_run_spends_no_more_than_its_own_budget(nats: NatsServer) -> None:
    async with replicas(nats, Declared(), count=1) as mesh:
        budget, purse = pool(Budget.model_validate({"per_run": {"usd": 1}})), mesh.purses[0]
        request = asked(1)
        request.run_spend.cost_nanos = DOLLAR * 3 // 10
        broken_off = await purse.reserve(request, budget, ranked(DOLLAR * 6 // 10))
        with pytest.raises(
            BudgetExceeded, match=r"each run of agent default/docs is spent: \$0.90 of \$1.00"
        ) as refused:
            await purse.reserve(request, budget, ranked(DOLLAR // 5))
        assert refused.value.retry_after is None
        broken_off.settle(charge(DOLLAR // 5))
        broken_off.settle(charge(DOLLAR // 5))
        await purse.reserve(request, budget, ranked(DOLLAR // 2))
        another = asked(2)
        await purse.reserve(another, budget, ranked(DOLLAR))
        assert mesh.writes == 0, "nothing of it is shared"


async def test_a_call_without_any_budget_asks_nobody(nats: NatsServer) -> None:
    async with replicas(nats, Declared(), count=1) as mesh:
        reservation = await mesh.purses[0].reserve(asked(), pool(), ranked(DOLLAR))
        reservation.settle(charge(DOLLAR))
        assert mesh.stores[0].reads == 0
