"""Replicas that share an account, step by step: whatever becomes of them and of the store, nobody spends too much."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from astromesh_core.errors import BudgetExceeded, TemporaryError, Unavailable
from astromesh_router.budgets.accounts import SharedAccount
from astromesh_router.budgets.records import LEASE_NANOS
from astromesh_router.budgets.scopes import Account, Bound, Scope
from astromesh_router.budgets.windows import NANOS, window_of
from astromesh_testing.budgets import Mood, RememberedRecords

NOON = 1_772_366_400 * NANOS
"""2026-03-01T12:00:00Z."""
ACCOUNT = Account(Scope("default", "docs"), window_of("day", NOON), "tokens")
LIMIT = 1_000
BOUND = Bound(ACCOUNT, LIMIT)

amounts = st.integers(1, 60) | st.integers(1, 500)
replicas = st.integers(0, 2)


class World:
    """Replicas, the store between them, and the log, which knows of every call that ended."""

    def __init__(self) -> None:
        self.now = NOON
        self.logged = 0
        self.log_answers = True
        self.records = RememberedRecords()
        self.started = 0
        self.replicas = [self.replica() for _ in range(3)]

    def replica(self) -> SharedAccount:
        self.started += 1
        return SharedAccount(ACCOUNT, f"router-{self.started}", self.records, self.log, lambda: self.now)

    async def log(self, account: Account) -> int | None:
        assert account is ACCOUNT
        return self.logged if self.log_answers else None


@dataclass
class UnderWay:
    """A call: what is expected of it, and what of that is set aside."""

    expected: int
    aside: int


class Ledger(RuleBasedStateMachine):
    """What is spent, and set aside for calls under way, never exceeds the limit but by what calls cost beyond what was
    set aside for them.

    That is what was expected of them, until their slice has ended: then it is nothing, for others may have it. A slice
    ends where its replica was not kept for half as long as slices last, so that it was not renewed.
    """

    calls = Bundle("calls")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.world = World()
        self.under_way: dict[tuple[int, str], UnderWay] = {}
        self.written = [NOON] * 3
        self.kept = [NOON] * 3
        self.beyond = self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    @rule(target=calls, replica=replicas, amount=amounts)
    def call(self, replica: int, amount: int) -> object:
        reserved = self.reserve(replica, amount)
        return reserved or multiple()  # pyright: ignore[reportUnknownVariableType] - of nothing

    @rule(target=calls, replica=replicas)
    def exhaust(self, replica: int) -> object:
        """Takes all that is left: if it is one too many, it is seen."""
        reserved = [self.reserve(replica, 1 << power) for power in range(9, -1, -1)]
        return multiple(*(call for call in reserved if call))

    def reserve(self, replica: int, amount: int) -> tuple[int, str] | None:
        self.number += 1
        name = f"run:1:1:{self.number}"
        try:
            self.run(replica, self.world.replicas[replica].reserve(name, amount, BOUND))
        except (BudgetExceeded, Unavailable):
            return None
        self.under_way[replica, name] = UnderWay(amount, amount)
        return replica, name

    @rule(call=consumes(calls), cost=st.integers(0, 600), twice=st.booleans())
    def end(self, call: tuple[int, str], cost: int, twice: bool) -> None:
        replica, name = call
        ended = self.under_way.pop(call, None)
        if ended is None:
            return  # its replica died
        self.bill(ended, cost)
        for _ in range(2 if twice else 1):
            self.world.replicas[replica].settle(name, cost)

    @rule(replica=replicas)
    def die(self, replica: int) -> None:
        """Its calls under way are lost, and billed as expected: the log learns of it at once."""
        for key in [key for key in self.under_way if key[0] == replica]:
            lost = self.under_way.pop(key)
            self.bill(lost, lost.expected)
        self.world.replicas[replica] = self.world.replica()

    @rule(rounds=st.integers(1, 20), paused=st.none() | replicas)
    def wait(self, rounds: int, paused: int | None) -> None:
        """Two seconds a round, in which each replica keeps what it holds, but one that is paused."""
        for _ in range(rounds):
            self.world.now += 2 * NANOS
            self.end_slices()
            for number in {0, 1, 2} - {paused}:
                self.keep(number)

    def end_slices(self) -> None:
        now = self.world.now
        for (replica, _), call in self.under_way.items():
            if now - self.written[replica] >= LEASE_NANOS and now - self.kept[replica] >= LEASE_NANOS // 2:
                call.aside = 0

    def keep(self, replica: int) -> None:
        mood = self.world.records.mood
        try:
            self.run(replica, self.world.replicas[replica].keep())
        except TemporaryError:
            assert mood != "well"
        if mood == "well":
            self.kept[replica] = self.world.now

    def run(self, replica: int, doing: Coroutine[object, object, None]) -> None:
        """Whatever a replica writes, its slice lasts from then on, also where it got no answer."""
        writes = self.world.records.writes
        try:
            self.runner.run(doing)
        finally:
            if self.world.records.writes > writes:
                self.written[replica] = self.world.now

    def bill(self, call: UnderWay, cost: int) -> None:
        self.world.logged += cost
        self.beyond += max(0, cost - call.aside)

    @rule(mood=st.sampled_from(["well", "well", "well", "away", "mute", "deaf"]))
    def store(self, mood: Mood) -> None:
        self.world.records.mood = mood

    @rule(answers=st.booleans())
    def log(self, answers: bool) -> None:
        self.world.log_answers = answers

    @invariant()
    def nothing_is_overspent(self) -> None:
        if hasattr(self, "world"):
            assert self.world.logged + sum(call.aside for call in self.under_way.values()) <= LIMIT + self.beyond


def test_a_slice_ends_by_its_last_write_however_lately_its_replica_was_kept() -> None:
    ledger = Ledger()
    ledger.begin()
    try:
        ledger.call(replica=1, amount=204)
        ledger.call(replica=0, amount=408)
        ledger.wait(rounds=1, paused=None)
        ledger.wait(rounds=1, paused=None)
        ledger.wait(rounds=8, paused=0)
        assert [call.aside for call in ledger.under_way.values()] == [204, 0]
        ledger.die(replica=0)
        ledger.call(replica=0, amount=389)
        ledger.nothing_is_overspent()
        assert (ledger.world.logged, ledger.beyond) == (408, 408), "the lost call may exceed the limit"
    finally:
        ledger.teardown()


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
