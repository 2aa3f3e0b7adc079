"""Records of budgets: the store and its fake keep the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from astromesh.v1.budget_pb2 import BudgetRecord, BudgetSlice
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import Conflict
from astromesh_router.budgets.turning import Records
from astromesh_testing.budgets import RememberedRecords
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until

KEY = "2026-03-01.usd.agent.default.docs"
RECORD = BudgetRecord(spent=5, slices=[BudgetSlice(holder="router-1", amount=7)])


@pytest.fixture(params=["store", "fake"])
async def records(request: pytest.FixtureRequest, nats: NatsServer) -> AsyncIterator[Records]:
    """Each of them, empty; the store with the router's own rights."""
    if request.param == "fake":
        yield RememberedRecords()
        return
    async with nats.bus("router") as bus:
        yield bus.budgets


async def test_what_was_never_written_is_none_and_expects_no_revision(records: Records) -> None:
    assert await records.get(KEY) == (None, 0)


async def test_what_is_written_is_read_with_the_revision_that_the_next_write_expects(records: Records) -> None:
    first = await records.put(KEY, RECORD, expected=0, ttl=60)
    assert await records.get(KEY) == (RECORD, first)
    second = await records.put(KEY, BudgetRecord(spent=6), expected=first, ttl=60)
    assert (second > first, await records.get(KEY)) == (True, (BudgetRecord(spent=6), second))


async def test_a_write_that_expects_another_revision_changes_nothing(records: Records) -> None:
    first = await records.put(KEY, RECORD, expected=0, ttl=60)
    for expected in (0, first + 1):
        with pytest.raises(Conflict):
            await records.put(KEY, BudgetRecord(), expected=expected, ttl=60)
    assert await records.get(KEY) == (RECORD, first)


async def test_keys_do_not_know_of_each_other(records: Records) -> None:
    await records.put(KEY, RECORD, expected=0, ttl=60)
    assert (await records.get(KEY.replace("usd", "tokens"))).record is None


async def test_a_record_goes_when_its_time_is_over(bus: Bus) -> None:
    await bus.budgets.put(KEY, RECORD, expected=0, ttl=1)

    async def gone() -> bool:
        return await bus.budgets.get(KEY) == (None, 0)

    await until(gone)
    await bus.budgets.put(KEY, RECORD, expected=0, ttl=60)
