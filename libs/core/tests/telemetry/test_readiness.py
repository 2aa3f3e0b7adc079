"""Readiness: every dependency with its reason, asked at most once a second."""

import asyncio

from astromesh_core import readiness as subject
from astromesh_core.errors import Unavailable
from astromesh_core.readiness import Health, Readiness


async def test_a_report_names_every_check_and_is_red_where_one_is() -> None:
    readiness = Readiness()

    async def good() -> Health:
        return Health(True)

    async def away() -> Health:
        raise Unavailable("the broker is away")

    async def broken() -> Health:
        raise KeyError("x")

    readiness.register("log", good)
    assert (await readiness.report()).ok
    readiness.register("bus", away)
    readiness.register("cache", broken)
    readiness.include(lambda: [("feed runs", False, "vanished")])
    report = await readiness.report()
    assert not report.ok
    assert {name: health.reason for name, health in report.checks.items()} == {
        "bus": "the broker is away",
        "cache": "the check itself failed: KeyError",
        "feed runs": "vanished",
        "log": "",
    }
    readiness.unregister("bus")
    assert "bus" not in (await readiness.report()).checks


async def test_probes_of_any_number_cost_one_round_of_checks_a_second() -> None:
    now, asked = 0.0, 0
    readiness = Readiness(clock=lambda: now)

    async def check() -> Health:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return Health(True)

    readiness.register("bus", check)
    now = 10.0
    await asyncio.gather(*(readiness.report() for _ in range(50)))
    assert asked == 1
    now = 10.9
    await readiness.report()
    assert asked == 1
    now = 11.0
    await readiness.report()
    assert asked == 2


async def test_who_waits_for_a_green_report_learns_of_it_at_once() -> None:
    now, well = 10.0, False

    async def bus() -> Health:
        return Health(well)

    readiness = Readiness(lambda: now)
    readiness.register("bus", bus)
    assert not (await readiness.report()).ok
    now, well = 10.0 + subject.CACHED_BAD_FOR, True
    assert (await readiness.report()).ok


async def test_a_check_that_hangs_is_red() -> None:
    readiness = Readiness(check_timeout=0.05)

    async def hangs() -> Health:
        await asyncio.sleep(60)
        return Health(True)

    readiness.register("bus", hangs)
    assert (await readiness.report()).checks["bus"] == Health(False, "no answer within 0.05 s")
    assert subject.CACHED_FOR <= 1
