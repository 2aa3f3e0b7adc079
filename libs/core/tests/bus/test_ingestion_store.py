"""Ingestions on a real server: one chain each, one writer at a time, found again by pipeline."""

from __future__ import annotations

import asyncio
import time

import pytest

from astromesh.v1.ingestion_events_pb2 import (
    INGESTION_CAUSE_ASKED,
    INGESTION_CAUSE_GIVEN,
    IngestionClaimed,
    IngestionCompleted,
    IngestionDue,
    IngestionEvent,
    IngestionLease,
    IngestionRequested,
)
from astromesh_core.bus import ingestion_lease
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.ingestion_lease import LeaseLost
from astromesh_core.bus.ingestion_store import IngestionChain
from astromesh_core.bus.log import AppendConflict
from astromesh_core.errors import Cancelled, Conflict, InvalidInput, NotFound
from astromesh_core.events.chain import verify_chain

REQUESTED = IngestionEvent(pipeline="docs.v2", cause=INGESTION_CAUSE_ASKED, requested=IngestionRequested())
CLAIMED = IngestionEvent(pipeline="docs.v2", cause=INGESTION_CAUSE_ASKED, claimed=IngestionClaimed(runner="b"))
COMPLETED = IngestionEvent(pipeline="docs.v2", cause=INGESTION_CAUSE_ASKED, completed=IngestionCompleted())


def begin(bus: Bus, ingestion: str, pipeline: str = "docs.v2", *, given: bool = False) -> IngestionChain:
    return bus.ingestions.begin("default", pipeline, ingestion, given=given, producer="a", clock=time.time_ns)


async def test_the_last_event_of_a_kind_tells_whether_an_ingestion_is_open(bus: Bus) -> None:
    assert await bus.ingestions.newest("default", "docs.v2", given=False) is None
    chain = begin(bus, "01")
    await chain.append(REQUESTED, CLAIMED)
    given = IngestionEvent(pipeline="docs.v2", cause=INGESTION_CAUSE_GIVEN, requested=IngestionRequested())
    await begin(bus, "02", given=True).append(given)
    newest = await bus.ingestions.newest("default", "docs.v2", given=False)
    assert newest is not None
    assert (newest.id, newest.ended) == ("01", False)
    await chain.append(COMPLETED)
    newest = await bus.ingestions.newest("default", "docs.v2", given=False)
    assert newest is not None
    assert newest.ended


async def test_who_takes_an_ingestion_over_leaves_the_one_before_no_append(bus: Bus) -> None:
    first = begin(bus, "01")
    await first.append(REQUESTED)
    newest = await bus.ingestions.newest("default", "docs.v2", given=False)
    assert newest is not None
    second = await bus.ingestions.take_over("default", newest, producer="b", clock=time.time_ns)
    await second.append(CLAIMED)
    with pytest.raises(AppendConflict):
        await first.append(COMPLETED)
    await second.append(COMPLETED)
    events = await bus.ingestions.events("default", "docs.v2", "01")
    assert [event.producer for event in events] == ["a", "b", "b"]
    assert verify_chain([event.SerializeToString() for event in events]).ok


async def test_an_ingestion_begins_once(bus: Bus) -> None:
    await begin(bus, "01").append(REQUESTED)
    with pytest.raises(AppendConflict):
        await begin(bus, "01").append(REQUESTED)


async def test_a_pipelines_ingestions_are_listed_newest_first_and_in_pages(bus: Bus) -> None:
    for number in range(5):
        await begin(bus, f"0{number}", given=number % 2 == 0).append(REQUESTED)
    await begin(bus, "09", "docs").append(REQUESTED)
    first = await bus.ingestions.page("default", "docs.v2", 2)
    assert [found.id for found in first] == ["04", "03"]
    assert [found.id for found in await bus.ingestions.page("default", "docs.v2", 9, "03")] == ["02", "01", "00"]
    assert await bus.ingestions.page("other", "docs.v2", 9) == []
    assert await bus.ingestions.events("default", "docs.v2", "77") == []
    with pytest.raises(InvalidInput):
        await bus.ingestions.events("default", "docs.v2", "*.>")


async def test_one_process_at_a_time_holds_a_pipeline(bus: Bus) -> None:
    leases = bus.ingestions.leases
    held = await leases.take("default", "docs", IngestionLease(runner="a", ingestion_id="01"))
    assert held is not None
    assert held.valid
    assert await leases.take("default", "docs", IngestionLease(runner="b", ingestion_id="02")) is None
    assert await leases.take("default", "other", IngestionLease(runner="b", ingestion_id="02")) is not None
    holder = await leases.holder("default", "docs")
    assert holder is not None
    assert holder.runner == "a"
    await held.release()
    assert not held.valid
    assert await leases.take("default", "docs", IngestionLease(runner="b", ingestion_id="02")) is not None


async def test_a_holder_that_does_not_renew_is_followed_by_another(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion_lease, "TTL_SECONDS", 1)
    monkeypatch.setattr(ingestion_lease, "RENEW_SECONDS", 0.05)
    leases = bus.ingestions.leases
    held = await leases.take("default", "docs", IngestionLease(runner="a", ingestion_id="01"))
    assert held is not None
    async with asyncio.timeout(10):
        second = IngestionLease(runner="b", ingestion_id="02")
        while (next_one := await leases.take("default", "docs", second)) is None:  # noqa: ASYNC110 - keys end silently
            await asyncio.sleep(0.1)
    assert not held.valid
    with pytest.raises(LeaseLost):
        await held.keep()
    keeping = asyncio.create_task(next_one.keep())
    await asyncio.sleep(1.5)
    assert next_one.valid
    keeping.cancel()


async def test_anybody_can_have_the_holder_stop(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion_lease, "RENEW_SECONDS", 0.05)
    leases = bus.ingestions.leases
    held = await leases.take("default", "docs", IngestionLease(runner="a", ingestion_id="01"))
    assert held is not None
    with pytest.raises(NotFound):
        await leases.cancel("default", "docs", "02", "enough")
    await leases.cancel("default", "docs", "01", "enough")
    with pytest.raises(Cancelled, match="enough"):
        await held.keep()
    await held.release()
    assert await leases.holder("default", "docs") is None


async def test_a_schedules_record_is_replaced_by_one_replica(bus: Bus) -> None:
    schedules = bus.ingestions.schedules
    stored = await schedules.get("default", "docs")
    assert stored == (None, 0)
    await schedules.put("default", "docs", IngestionDue(schedule="* * * * *", dealt_with_unix_seconds=60), expected=0)
    with pytest.raises(Conflict):
        await schedules.put("default", "docs", IngestionDue(), expected=0)
    stored = await schedules.get("default", "docs")
    assert stored.record is not None
    assert stored.record.dealt_with_unix_seconds == 60


@pytest.mark.parametrize("name", ["*", ">", "", "01.02"])
async def test_what_is_no_id_names_no_ingestion_and_not_all_of_them(bus: Bus, name: str) -> None:
    await begin(bus, "01").append(REQUESTED, CLAIMED)
    with pytest.raises(InvalidInput, match="cannot stand in a subject"):
        await bus.ingestions.events("default", "docs.v2", name)
