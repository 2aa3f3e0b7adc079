"""Replicas that share an account, step by step: whatever becomes of them and of the store, nobody spends too much."""

from __future__ import annotations

import asyncio

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

amounts = st.integers(1, 500)
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


class Ledger(RuleBasedStateMachine):
    """What is spent, and set aside for calls under way, never exceeds the limit but by what calls cost beyond what was
    expected of them.

    Calls of a replica that told nothing for as long as a slice lasts are set aside no more: others may have what was
    theirs.
    """

    calls = Bundle("calls")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.world = World()
        self.under_way: dict[tuple[int, str], int] = {}
        self.heard = [NOON] * 3
        self.beyond = self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    @rule(target=calls, replica=replicas, amount=amounts)
    def call(self, replica: int, amount: int) -> object:
        self.number += 1
        name = f"run:1:1:{self.number}"
        try:
            self.runner.run(self.world.replicas[replica].reserve(name, amount, BOUND))
        except (BudgetExceeded, Unavailable):
            return multiple()  # pyright: ignore[reportUnknownVariableType] - of nothing
        self.under_way[replica, name] = amount
        return replica, name

    @rule(call=consumes(calls), cost=st.integers(0, 600), twice=st.booleans())
    def end(self, call: tuple[int, str], cost: int, twice: bool) -> None:
        replica, name = call
        expected = self.under_way.pop(call, None)
        if expected is None:
            return  # its replica died
        self.world.logged += cost
        self.beyond += max(0, cost - expected)
        for _ in range(2 if twice else 1):
            self.world.replicas[replica].settle(name, cost)

    @rule(replica=replicas)
    def die(self, replica: int) -> None:
        """Its calls under way are lost, and billed as expected: the log learns of them before its slice ends."""
        for key in [key for key in self.under_way if key[0] == replica]:
            self.world.logged += self.under_way.pop(key)
        self.world.replicas[replica] = self.world.replica()

    @rule(rounds=st.integers(1, 20), paused=st.none() | replicas)
    def wait(self, rounds: int, paused: int | None) -> None:
        """Two seconds a round, in which each replica keeps what it holds, but one that is paused."""
        for _ in range(rounds):
            self.world.now += 2 * NANOS
            for number in {0, 1, 2} - {paused}:
                self.keep(number)
        for number, heard in enumerate(self.heard):
            if self.world.now - heard >= LEASE_NANOS - 2 * NANOS:
                for key in [key for key in self.under_way if key[0] == number]:
                    self.under_way[key] = 0

    def keep(self, replica: int) -> None:
        mood = self.world.records.mood
        try:
            self.runner.run(self.world.replicas[replica].keep())
        except TemporaryError:
            assert mood != "well"
        if mood == "well":
            self.heard[replica] = self.world.now

    @rule(mood=st.sampled_from(["well", "well", "well", "away", "mute", "deaf"]))
    def store(self, mood: Mood) -> None:
        self.world.records.mood = mood

    @rule(answers=st.booleans())
    def log(self, answers: bool) -> None:
        self.world.log_answers = answers

    @invariant()
    def nothing_is_overspent(self) -> None:
        if hasattr(self, "world"):
            assert self.world.logged + sum(self.under_way.values()) <= LIMIT + self.beyond


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
