"""One account and its replicas: when they ask, what they are granted, what comes back, and what callers are told."""

from __future__ import annotations

import asyncio

import pytest

from astromesh_core.errors import BudgetExceeded, Unavailable
from astromesh_router.budgets.accounts import SharedAccount
from astromesh_router.budgets.records import free, set_aside, spent_of
from astromesh_router.budgets.scopes import Account, Bound, Scope
from astromesh_router.budgets.windows import NANOS, window_of
from astromesh_testing.budgets import RememberedRecords

NOON = 1_772_366_400 * NANOS
"""2026-03-01T12:00:00Z."""
ACCOUNT = Account(Scope("default", "docs"), window_of("day", NOON), "tokens")
BOUND = Bound(ACCOUNT, 1_000)


class World:
    """Replicas of one account, with a clock and a log that are told what to say."""

    def __init__(self) -> None:
        self.now = NOON
        self.logged: int | None = 0
        self.asked = 0
        self.records = RememberedRecords()

    def replica(self, name: str) -> SharedAccount:
        return SharedAccount(ACCOUNT, name, self.records, self.log, lambda: self.now)

    async def log(self, account: Account) -> int | None:
        self.asked += 1
        return self.logged

    async def left(self, limit: int = 1_000) -> tuple[int, int, int]:
        """Spent, set aside, free."""
        record = (await self.records.get(ACCOUNT.key)).record
        assert record is not None
        return spent_of(record), set_aside(record), free(record, limit)

    async def keep(self, replica: SharedAccount, seconds: int) -> None:
        for _ in range(seconds // 2):
            self.now += 2 * NANOS
            await replica.keep()


@pytest.fixture
def world() -> World:
    return World()


async def test_a_slice_is_a_share_of_what_is_free_and_serves_calls_without_asking(world: World) -> None:
    replica = world.replica("a")
    for number in range(6):
        await replica.reserve(f"call {number}", 10, BOUND)
    assert world.records.writes == 1
    assert await world.left() == (0, 62, 938)


async def test_a_call_that_needs_more_than_a_share_gets_it(world: World) -> None:
    await world.replica("a").reserve("call", 990, BOUND)
    assert await world.left() == (0, 990, 10)


async def test_calls_that_wait_together_are_served_in_one_turn(world: World) -> None:
    replica = world.replica("a")
    await asyncio.gather(*(replica.reserve(f"call {number}", 10, BOUND) for number in range(100)))
    assert world.records.writes <= 2


async def test_of_calls_that_wait_together_as_many_are_served_as_there_is_budget_for(world: World) -> None:
    replica = world.replica("a")
    calls = [replica.reserve(f"call {number}", 100, BOUND) for number in range(25)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 10 + [BudgetExceeded] * 15


async def test_a_smaller_call_may_fit_where_a_larger_one_does_not(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("most", 900, BOUND)
    with pytest.raises(BudgetExceeded):
        await replica.reserve("too much", 200, BOUND)
    await replica.reserve("little", 100, BOUND)


async def test_a_refusal_says_whose_budget_what_was_spent_and_when_it_resets(world: World) -> None:
    world.logged = 900
    with pytest.raises(BudgetExceeded) as refused:
        await world.replica("a").reserve("call", 200, BOUND)
    assert refused.value.message == (
        "the budget of agent default/docs for the day 2026-03-01 is spent: 900 tokens of 1,000 tokens; this call "
        "may take 200 tokens, and it resets at 2026-03-02T00:00:00Z (spec.budget.per_day)"
    )
    assert refused.value.retry_after == 12 * 3_600


async def test_a_refusal_for_what_is_only_set_aside_tells_to_ask_again_soon(world: World) -> None:
    await world.replica("a").reserve("call", 900, BOUND)
    with pytest.raises(BudgetExceeded, match="900 tokens set aside for calls under way") as refused:
        await world.replica("b").reserve("call", 200, BOUND)
    assert refused.value.retry_after == 10


async def test_a_spent_budget_asks_its_store_at_most_once_a_second(world: World) -> None:
    world.logged = 1_000
    replica = world.replica("a")
    for number in range(50):
        with pytest.raises(BudgetExceeded):
            await replica.reserve(f"call {number}", 10 + number, BOUND)
    assert world.asked == 1
    assert world.records.writes == 1


async def test_what_was_spent_before_the_first_record_is_in_the_log(world: World) -> None:
    world.logged = 990
    replica = world.replica("a")
    with pytest.raises(BudgetExceeded):
        await replica.reserve("call", 11, BOUND)
    world.now += 2 * NANOS
    await replica.reserve("call", 10, BOUND)


async def test_a_reservation_goes_back_but_for_what_the_call_cost(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("call", 600, BOUND)
    replica.settle("call", 100)
    replica.settle("call", 100)
    await world.keep(replica, 4)
    assert await world.left() == (100, 56, 844)


async def test_a_slice_that_rests_is_given_back(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("call", 10, BOUND)
    replica.settle("call", 10)
    await world.keep(replica, 12)
    assert await world.left() == (10, 0, 990)
    assert replica.idle


async def test_what_a_replica_holds_beyond_its_share_is_given_back_at_once(world: World) -> None:
    replica, other = world.replica("a"), world.replica("b")
    await replica.reserve("call", 950, BOUND)
    replica.settle("call", 10)
    with pytest.raises(BudgetExceeded):
        await other.reserve("call", 500, BOUND)
    await world.keep(replica, 2)
    await other.reserve("call", 500, BOUND)


async def test_the_slice_of_a_call_under_way_is_renewed(world: World) -> None:
    replica, other = world.replica("a"), world.replica("b")
    await replica.reserve("long call", 600, BOUND)
    await world.keep(replica, 120)
    with pytest.raises(BudgetExceeded):
        await other.reserve("call", 500, BOUND)


async def test_the_slice_of_a_dead_replica_comes_back_less_what_the_log_knows_it_spent(world: World) -> None:
    dead, other = world.replica("a"), world.replica("b")
    await dead.reserve("told to the log alone", 800, BOUND)
    dead.settle("told to the log alone", 300)
    world.logged = 300
    with pytest.raises(BudgetExceeded):
        await other.reserve("call", 500, BOUND)
    world.now += 21 * NANOS
    await other.reserve("call", 500, BOUND)
    assert await world.left() == (300, 500, 200)


async def test_a_call_billed_after_its_slice_was_taken_back_is_found_at_the_next_look(world: World) -> None:
    live, dying, other = world.replica("a"), world.replica("b"), world.replica("c")
    await live.reserve("long call", 204, BOUND)
    await dying.reserve("lost", 408, BOUND)
    await asyncio.gather(world.keep(live, 4), dying.keep())
    await world.keep(live, 14)
    assert await world.left() == (0, 612, 388)
    await world.keep(live, 2)
    assert await world.left() == (0, 204, 796), "twenty seconds after it was last written"
    world.logged = 408
    await other.reserve("call", 389, BOUND)
    await world.keep(live, 10)
    assert await world.left() == (408, 593, -1), "no more is overspent than was expected of the lost call"
    with pytest.raises(BudgetExceeded):
        await other.reserve("another", 1, BOUND)


async def test_a_call_billed_before_its_slice_was_taken_back_is_never_overspent(world: World) -> None:
    live, dying, other = world.replica("a"), world.replica("b"), world.replica("c")
    await live.reserve("long call", 204, BOUND)
    await dying.reserve("lost", 408, BOUND)
    await world.keep(live, 18)
    world.logged = 408
    for _ in range(5):
        with pytest.raises(BudgetExceeded):
            await other.reserve("call", 389, BOUND)
        await world.keep(live, 2)
    assert await world.left() == (408, 204, 388)


async def test_a_lasting_doubt_is_looked_into_less_and_less_often(world: World) -> None:
    dead, first, second = world.replica("a"), world.replica("b"), world.replica("c")
    await dead.reserve("lost", 100, BOUND)
    for replica in (first, second):
        await replica.reserve("long call", 10, BOUND)
    assert world.asked == 1, "where a record begins"
    for _ in range(3_600 // 2):
        world.now += 2 * NANOS
        for replica in (first, second):
            await replica.keep()
    assert 10 < world.asked < 40


async def test_a_record_that_begins_with_what_the_log_says_is_not_in_doubt(world: World) -> None:
    world.logged = 100
    replica = world.replica("a")
    await replica.reserve("long call", 10, BOUND)
    await world.keep(replica, 120)
    assert (world.asked, (await world.left())[0]) == (1, 100)


async def test_what_is_found_twice_is_found_out_before_anybody_is_refused(world: World) -> None:
    dead, busy, other = world.replica("a"), world.replica("b"), world.replica("c")
    await dead.reserve("lost", 10, BOUND)
    world.now += 15 * NANOS
    await busy.reserve("call", 300, BOUND)
    busy.settle("call", 300)
    world.logged = 300
    world.now += 6 * NANOS
    await other.reserve("small", 10, BOUND)
    assert await world.left() == (300, 325, 375), "what the busy one has not told is found beside its slice"
    await busy.close()
    world.now += 11 * NANOS
    await other.reserve("large", 600, BOUND)
    assert (await world.left())[0] == 300


async def test_without_the_log_the_slice_of_a_dead_replica_is_kept_from_others(world: World) -> None:
    dead, other = world.replica("a"), world.replica("b")
    await dead.reserve("call", 800, BOUND)
    world.logged = None
    world.now += 60 * NANOS
    with pytest.raises(BudgetExceeded):
        await other.reserve("call", 500, BOUND)
    world.logged = 0
    world.now += 11 * NANOS
    await other.reserve("call", 500, BOUND)


async def test_a_replica_that_was_taken_for_dead_by_mistake_counts_nothing_twice(world: World) -> None:
    slow, other = world.replica("a"), world.replica("b")
    await slow.reserve("call", 300, BOUND)
    slow.settle("call", 300)
    world.logged = 300
    world.now += 21 * NANOS
    await other.reserve("call", 10, BOUND)
    other.settle("call", 0)
    assert (await world.left())[0] == 300
    await slow.reserve("call", 10, BOUND)
    assert (await world.left())[0] == 300


async def test_a_report_without_an_answer_is_told_once(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("call", 100, BOUND)
    replica.settle("call", 100)
    world.records.mood = "mute"
    world.now += 12 * NANOS
    with pytest.raises(Exception, match="no answer"):
        await replica.keep()
    world.records.mood = "well"
    await world.keep(replica, 2)
    assert (await world.left())[0] == 100


async def test_without_the_store_a_slice_goes_on_until_it_ends_and_then_calls_are_refused(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("first", 10, BOUND)
    world.records.mood = "away"
    world.now += 14 * NANOS
    await replica.reserve("second", 10, BOUND)
    world.now += 2 * NANOS
    with pytest.raises(Unavailable, match="budget of agent default/docs is not known"):
        await replica.reserve("third", 10, BOUND)
    world.records.mood = "well"
    await replica.reserve("fourth", 10, BOUND)


async def test_a_slice_granted_under_a_wider_limit_is_not_spent_under_a_tighter_one(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("wide", 500, Bound(ACCOUNT, 100_000))
    with pytest.raises(BudgetExceeded):
        await replica.reserve("tight", 600, BOUND)


async def test_a_caller_that_leaves_while_it_waits_holds_nothing(world: World) -> None:
    replica = world.replica("a")
    waiting = asyncio.create_task(replica.reserve("left", 900, BOUND))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await replica.reserve("call", 900, BOUND)


async def test_closing_gives_back_what_no_call_needs(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("ended", 10, BOUND)
    await replica.reserve("under way", 20, BOUND)
    replica.settle("ended", 7)
    await replica.close()
    assert await world.left() == (7, 20, 973)


async def test_the_account_of_a_window_that_is_over_is_settled_and_left(world: World) -> None:
    replica = world.replica("a")
    await replica.reserve("call", 10, BOUND)
    world.now = ACCOUNT.window.end + NANOS
    replica.settle("call", 8)
    await replica.keep()
    assert replica.idle
    assert await world.left() == (8, 0, 992)
