"""kill -9 of the worker of a run and its children, at any of their events: each child is started once, and waited for.

A seeded sample; `make soak` runs `SOAK_POINTS` of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.events.chain import verify_chain
from astromesh_core.events.contents import plain
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.serving import serve
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.nats import NatsServer
from astromesh_testing.services import FakeServices

from .test_children import LOOK, RESEARCH, desk, started
from .test_crashes import worker_process

EVENTS = 16
"""That the parent has at least; a child has fewer."""
POINTS = [(point, index) for index in range(1, EVENTS) for point in ("recording", "sending", "stored")]
SAMPLE = 3


def sampled() -> list[tuple[str, int]]:
    wanted = int(os.environ.get("SOAK_POINTS", "0"))
    if wanted:
        return [POINTS[number % len(POINTS)] for number in range(wanted)]
    return random.Random(os.environ.get("SEED", "children")).sample(POINTS, SAMPLE)


@pytest.mark.serial
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("point", "index"), sampled())
async def test_a_family_outlives_its_worker(nats: NatsServer, bus: Bus, tmp_path: Path, point: str, index: int) -> None:
    services = FakeServices()
    services.tools.specs, services.router.parts = (RESEARCH, LOOK), desk
    await put_agent(bus)
    await put_agent(bus, "researcher")
    async with serve(
        [services.register], f"unix:{tmp_path}/s", MeshGate("a-token-for-tests"), Telemetry(), drain_seconds=0
    ):
        run = await admit(bus)
        async with worker_process(nats, f"unix:{tmp_path}/s", point, index) as doomed:
            # Some events are stored past the writer, or stand elsewhere this time: then nothing is killed.
            ways = [asyncio.create_task(doomed.wait()), asyncio.create_task(events_until(bus, run, seconds=40))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        async with worker_process(nats, f"unix:{tmp_path}/s", point, -1):
            events = await events_until(bus, run, seconds=40)
    assert kinds(events)[-1] == "completed"
    assert plain(events[-1].envelope.run.completed.answer) == "about one | 2 | about two"
    assert len({child.child_run_id for child in started(events)}) == len(started(events)) == 2
    families = [events]
    for child in started(events):
        families.append(await events_until(bus, run_aggregate("default", child.child_run_id)))
        assert plain(families[-1][0].envelope.run.requested.query) == plain(child.query)
    for one in families:
        assert verify_chain([event.data for event in one]).ok
        assert replay([event.envelope for event in one]).identical
