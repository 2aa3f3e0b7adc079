"""When schedules are due, and that each appointment is kept once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.resources.rag_pipeline import DirectorySource, Ingestion
from astromesh_rag.schedule import newest_due, next_due
from astromesh_rag.timetable import Timetable

SOURCES = (DirectorySource(type="directory", path="knowledge"),)
REF = ResourceRef(kind="RAGPipeline", namespace="default", name="docs")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def nightly(timezone: str = "UTC", schedule: str = "0 2 * * *") -> Ingestion:
    return Ingestion(sources=SOURCES, schedule=schedule, timezone=timezone)


@pytest.mark.parametrize(
    ("schedule", "timezone", "after", "due"),
    [
        ("0 2 * * *", "UTC", "2026-11-21 01:59:59", "2026-11-21 02:00"),
        ("0 2 * * *", "UTC", "2026-11-21 02:00:00", "2026-11-22 02:00"),
        ("0 2 * * *", "Europe/Zurich", "2026-11-21 00:30", "2026-11-21 01:00"),
        ("0 2 * * *", "Europe/Zurich", "2026-07-21 00:30", "2026-07-22 00:00"),
        ("*/15 * * * *", "UTC", "2026-11-21 23:50", "2026-11-22 00:00"),
        ("0 9 * * MON", "UTC", "2026-11-21 10:00", "2026-11-23 09:00"),
        ("0 0 29 2 *", "UTC", "2026-03-01 00:00", "2028-02-29 00:00"),
    ],
)
def test_a_schedule_is_due_by_its_own_clock(schedule: str, timezone: str, after: str, due: str) -> None:
    assert next_due(nightly(timezone, schedule), at(after)) == at(due)


def test_of_what_was_missed_the_last_is_due() -> None:
    dealt_with = at("2026-11-18 02:00")
    assert newest_due(nightly(), dealt_with, at("2026-11-21 12:00:00.5")) == at("2026-11-21 02:00")
    assert newest_due(nightly(), dealt_with, at("2026-11-19 02:00")) == at("2026-11-19 02:00")
    assert newest_due(nightly(), dealt_with, at("2026-11-19 01:59:59")) is None
    assert next_due(Ingestion(sources=SOURCES), 0) is None


class Clock:
    """A clock that is set."""

    def __init__(self, now: str) -> None:
        self.now = at(now)

    def __call__(self) -> float:
        return self.now


async def test_an_appointment_is_kept_once_by_all_replicas(bus: Bus) -> None:
    clock = Clock("2026-11-18 12:00")
    one, other = (Timetable(bus.ingestions.schedules, clock) for _ in range(2))
    # What was due before anybody declared the schedule is nobody's concern.
    assert await one.appointment(REF, nightly()) is None
    assert await one.seconds_left(REF, nightly()) == 14 * 3600
    clock.now = at("2026-11-21 12:00")
    assert await one.seconds_left(REF, nightly()) == 0
    mine, theirs = await one.appointment(REF, nightly()), await other.appointment(REF, nightly())
    assert mine is not None
    assert theirs is not None
    assert mine.due == at("2026-11-21 02:00")
    assert mine.id == theirs.id
    assert await mine.stands()
    await mine.keep()
    assert not await theirs.stands()
    assert await other.appointment(REF, nightly()) is None
    assert await other.seconds_left(REF, nightly()) == 14 * 3600


async def test_another_schedule_begins_anew(bus: Bus) -> None:
    clock = Clock("2026-11-18 12:00")
    timetable = Timetable(bus.ingestions.schedules, clock)
    await timetable.seconds_left(REF, nightly())
    clock.now = at("2026-11-21 12:00")
    old = await timetable.appointment(REF, nightly())
    assert old is not None
    assert await timetable.appointment(REF, nightly("Europe/Zurich")) is None
    assert not await old.stands()
    assert await timetable.seconds_left(REF, Ingestion(sources=SOURCES)) is None
    assert timetable.next_due(nightly()) == at("2026-11-22 02:00")
