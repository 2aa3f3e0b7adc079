"""Schedules: asked once in the whole mesh, late rather than never, and never for what was due before they stood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import orjson
import pytest
from pydantic import ValidationError

from astromesh.v1.run_events_pb2 import SURFACE_SCHEDULE, RunRequested
from astromesh_core.errors import Unavailable
from astromesh_core.events.contents import plain
from astromesh_core.resources import cron
from astromesh_core.resources.agent import AgentSpec
from astromesh_gateway.admission import Admission, PreparedRun
from astromesh_gateway.schedules import Scheduler
from astromesh_testing.admission import put_agent
from astromesh_testing.waiting import until

from .conftest import Mesh

HOUR = 3600


class Clock:
    """Unix time that a test sets; begins at a whole hour after the agents were declared."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def declare(mesh: Mesh, *schedules: dict[str, object]) -> Clock:
    """The agent with these schedules; the clock stands at the first whole hour after."""
    ref = await put_agent(mesh.bus, schedules=schedules)
    record = await mesh.bus.resources.get("Agent", ref.namespace, ref.name)
    assert record is not None
    await mesh.gateway.directory.shows(ref, record.generation)
    return Clock((record.changed_unix_nano // 10**9 // HOUR + 1) * HOUR)


def hourly(name: str = "report", **more: object) -> dict[str, object]:
    return {"name": name, "schedule": "0 * * * *", "query": "What happened?", **more}


@asynccontextmanager
async def keeping(mesh: Mesh, *clocks: Clock) -> AsyncGenerator[list[Scheduler]]:
    """A scheduler for each clock, at work."""
    schedulers = [Scheduler(mesh.gateway.directory, mesh.gateway.admission, clock) for clock in clocks]
    tasks = [asyncio.create_task(scheduler.run()) for scheduler in schedulers]
    try:
        yield schedulers
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def requests(mesh: Mesh, count: int) -> list[RunRequested]:
    """What was asked, once there is so much of it."""

    async def enough() -> bool:
        return len(mesh.runtime.runs) >= count

    await until(enough)
    return [run.requested for run in mesh.runtime.runs.values()]


async def test_every_gateway_tries_and_one_run_comes_of_it(mesh: Mesh) -> None:
    clock = await declare(mesh, hourly(context={"day": "today"}, session="reports"))
    async with keeping(mesh, clock, clock, clock):
        (requested,) = await requests(mesh, 1)
        await asyncio.sleep(0.3)
        assert len(mesh.runtime.runs) == 1
    assert (plain(requested.query), plain(requested.session_id)) == ("What happened?", "reports")
    assert (requested.principal, requested.surface) == ("schedule/report", SURFACE_SCHEDULE)
    context = orjson.loads(plain(requested.context))
    assert context["day"] == "today"
    assert context["scheduled_at"].endswith(":00:00Z")


async def test_each_time_has_a_run_of_its_own_and_each_schedule_its_times(mesh: Mesh) -> None:
    clock = await declare(mesh, hourly(), hourly("half", schedule="30 * * * *"))
    found = list[RunRequested]()
    for hours in range(3):
        async with keeping(mesh, clock):
            await requests(mesh, 1 + 2 * hours)
            clock.now += HOUR / 2
        async with keeping(mesh, clock):
            found = await requests(mesh, 2 + 2 * hours)
            clock.now += HOUR / 2
    assert sorted(run.principal for run in found) == ["schedule/half"] * 3 + ["schedule/report"] * 3
    assert len({run.session_key for run in found}) == 6


async def test_of_what_was_missed_one_is_made_up_for_unless_it_is_too_late(mesh: Mesh) -> None:
    clock = await declare(mesh, hourly(), hourly("punctual", catch_up_seconds=0))
    scheduler = Scheduler(mesh.gateway.directory, mesh.gateway.admission, clock)
    clock.now += 5 * HOUR + 1800
    assert [(due.schedule.name, due.unix_seconds) for due in scheduler.due()] == [("report", clock.now - 1800)]
    clock.now += 1800
    assert {due.schedule.name for due in scheduler.due()} == {"report", "punctual"}


async def test_what_was_due_before_a_schedule_stood_is_not_asked(mesh: Mesh) -> None:
    clock = await declare(mesh, hourly(catch_up_seconds=604_800))
    clock.now -= 2
    assert Scheduler(mesh.gateway.directory, mesh.gateway.admission, clock).due() == []


async def test_a_run_that_cannot_be_admitted_yet_is_tried_again(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = await declare(mesh, hourly())
    monkeypatch.setattr("astromesh_gateway.schedules.RETRY_SECONDS", 0.05)
    refusals = 3
    admit = Admission.admit

    async def refused(admission: Admission, prepared: PreparedRun) -> bool:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise Unavailable("the log is full")
        return await admit(admission, prepared)

    monkeypatch.setattr(Admission, "admit", refused)
    async with keeping(mesh, clock):
        await requests(mesh, 1)
    assert refusals == -1


async def test_what_is_not_due_yet_is_not_looked_for_at_every_change(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looked = await declare(mesh, *(hourly(f"report-{number}") for number in range(20))), list[str]()
    newest = cron.newest_due

    def counted(fields: str, timezone: str, dealt_with: float, now: float) -> float | None:
        looked.append(fields)
        return newest(fields, timezone, dealt_with, now)

    clock.now -= 10
    monkeypatch.setattr(cron, "newest_due", counted)
    scheduler = Scheduler(mesh.gateway.directory, mesh.gateway.admission, clock)
    for _ in range(5):
        assert not scheduler.due()
    assert len(looked) == 20
    clock.now += 11
    assert len(scheduler.due()) == 20


async def test_a_schedule_that_is_none_is_refused_with_its_place() -> None:
    for spec, told in (
        ({"name": "x", "schedule": "every day", "query": "q"}, "schedules.0.schedule"),
        ({"name": "x", "schedule": "0 25 * * *", "query": "q"}, "schedules.0.schedule"),
        ({"name": "x", "schedule": "0 * * * *", "query": ""}, "schedules.0.query"),
        ({"name": "x", "schedule": "0 * * * *", "query": "q", "timezone": "Mars"}, "schedules.0.timezone"),
    ):
        with pytest.raises(ValidationError) as refused:
            AgentSpec.model_validate({"model": {"primary": {"provider": "extractive"}}, "schedules": [spec]})
        assert told in ".".join(map(str, refused.value.errors()[0]["loc"]))
    twice = {"name": "x", "schedule": "0 * * * *", "query": "q"}
    with pytest.raises(ValidationError, match="two schedules named 'x'"):
        AgentSpec.model_validate({"model": {"primary": {"provider": "extractive"}}, "schedules": [twice, twice]})
