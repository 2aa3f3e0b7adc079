"""kill -9 of a worker at every event boundary: the run ends, nothing is lost, no write is repeated silently.

Here a seeded sample; `make soak` runs `SOAK_POINTS` of them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from astromesh.v1 import values_pb2 as values
from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.permissions import MESH
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.chain import StoredEvent, verify_chain
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.serving import serve
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.nats import NatsServer
from astromesh_testing.services import FakeServices

WORKER = Path(__file__).with_name("crashing_worker.py")
EVENTS = 10
"""Of a one-tool run without a crash."""

POINTS = [
    (effect, point, index)
    for effect in ("read", "idempotent", "write")
    for index in range(1, EVENTS)
    for point in ("recording", "sending", "stored")
]
EFFECTS = {
    "read": values.TOOL_EFFECT_KIND_READ,
    "idempotent": values.TOOL_EFFECT_KIND_IDEMPOTENT,
    "write": values.TOOL_EFFECT_KIND_WRITE,
}
SAMPLE = 6


def sampled() -> list[tuple[str, str, int]]:
    wanted = int(os.environ.get("SOAK_POINTS", "0"))
    if wanted:
        return [POINTS[number % len(POINTS)] for number in range(wanted)]
    return random.Random(os.environ.get("SEED", "astromesh")).sample(POINTS, SAMPLE)


@asynccontextmanager
async def worker_process(
    nats: NatsServer, socket: str, point: str, index: int
) -> AsyncGenerator[asyncio.subprocess.Process]:
    credentials = nats.credentials_folder / f"{MESH}.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, WORKER, nats.url, credentials, socket, point, str(index), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def finish(bus: Bus, run: Aggregate) -> list[StoredEvent]:
    return await events_until(bus, run, "suspended", seconds=40)


@pytest.mark.serial
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("effect", "point", "index"), sampled())
async def test_a_run_outlives_its_worker(
    nats: NatsServer, bus: Bus, tmp_path: Path, effect: str, point: str, index: int
) -> None:
    services = FakeServices()
    services.tools.specs = (ToolSpec(name="act", effect=EFFECTS[effect], timeout_ms=500),)
    await put_agent(bus)
    async with serve(
        [services.register], f"unix:{tmp_path}/s", MeshGate("a-token-for-tests"), Telemetry(), drain_seconds=0
    ):
        run = await admit(bus)
        async with worker_process(nats, f"unix:{tmp_path}/s", point, index) as doomed:
            assert await doomed.wait() < 0
        async with worker_process(nats, f"unix:{tmp_path}/s", point, -1):
            events = await finish(bus, run)
    calls = services.tools.calls
    assert verify_chain([event.data for event in events]).ok
    assert replay([event.envelope for event in events]).identical
    assert {call.idempotency_key for call in calls} <= {f"{run.id}:2.1"}
    if kinds(events)[-1] == "suspended":
        assert effect == "write"
        assert "tool_outcome_unknown" in kinds(events)
        assert len(calls) <= 1
    else:
        assert kinds(events)[-1] == "completed"
        assert len(calls) == 1 if effect == "write" else 1 <= len(calls) <= 2
