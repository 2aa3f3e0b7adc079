"""kill -9 of a worker while a run asks a human, or is undone: nothing is decided twice, made twice, or forgotten.

Here a seeded sample; `make soak` runs `SOAK_POINTS` of them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.signal_pb2 import DecideSignal, Signal
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_core.events.chain import StoredEvent, verify_chain
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.serving import serve
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.nats import NatsServer
from astromesh_testing.services import FakeServices, one_tool, succeeds

from .test_crashes import worker_process

WRITE, IDEMPOTENT = values.TOOL_EFFECT_KIND_WRITE, values.TOOL_EFFECT_KIND_IDEMPOTENT
UNDO = {"tool": "undo", "pause_seconds": 0.01}
FOUND = {"tool": "look", "succeeded": "answer == 2", "pause_seconds": 0.01}
ACT = {"name": "act", "type": "internal", "function": "m:f"}
TOOLS = {
    "approved": [{**ACT, "approval": "always"}],
    "expired": [{**ACT, "approval": "always", "approval_timeout": 0.3}],
    "undone": [{**ACT, "compensate": UNDO}, {"name": "undo", "type": "internal", "function": "m:g"}],
    "found": [{**ACT, "reconcile": FOUND}, {"name": "look", "type": "internal", "function": "m:h", "effect": "read"}],
}
EVENTS = {"approved": 15, "expired": 14, "undone": 13, "found": 12}
"""Of each without a crash."""

CLAIMED = 7

POINTS = [
    (what, point, index)
    for what, events in EVENTS.items()
    for index in range(5, events)
    for point in ("recording", "sending", "stored")
    # `claimed` is no event of a writer's: it is sent by itself, as the run is taken up.
    if (index, point) != (CLAIMED, "recording") or what in ("undone", "found")
]
SAMPLE = 4


def sampled() -> list[tuple[str, str, int]]:
    wanted = int(os.environ.get("SOAK_POINTS", "0"))
    if wanted:
        return [POINTS[number % len(POINTS)] for number in range(wanted)]
    return random.Random(os.environ.get("SEED", "astromesh")).sample(POINTS, SAMPLE)


async def fails_after_its_call(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """One call, and no model any more."""
    if any(message.role == values.ROLE_TOOL for message in request.messages):
        raise Unavailable("no provider answered")
    async for part in one_tool(request):
        yield part


async def never_answers(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """The write gives no answer; the read tells that it was done."""
    if request.call.name == "act":
        raise TimedOut("the connection broke")
    return await succeeds(request)


async def approve(bus: Bus, run: Aggregate) -> None:
    """A human approves what is asked, as soon as it is."""
    await events_until(bus, run, "approval_requested", seconds=60)
    decide = DecideSignal(path="2.1", approved=True)
    await bus.signals.send("default", Signal(id="d1", aggregate_id=run.id, principal="ann", decide=decide))


async def settled(bus: Bus, run: Aggregate) -> list[StoredEvent]:
    """The run's events up to its end, or to where nobody knows what became of a write."""
    async with asyncio.timeout(60):
        while True:
            events = await events_until(bus, run, "suspended", "completed", seconds=60)
            stored = (await bus.log.read(run)).events
            last = stored[-1].envelope.run
            if last.WhichOneof("event") in ("completed", "failed", "compensated"):
                return stored
            if last.HasField("suspended") and last.suspended.reason == ev.SUSPENSION_REASON_UNKNOWN:
                return stored
            del events
            await asyncio.sleep(0.05)


def check(what: str, events: list[StoredEvent], services: FakeServices) -> None:
    seen, calls = kinds(events), [call.call.name for call in services.tools.calls]
    asks = what in ("approved", "expired")
    assert seen.count("approval_requested") == seen.count("approval_decided") == asks
    assert calls.count("act") <= (what != "expired")
    if seen[-1] == "suspended":
        assert what not in ("expired", "found")
        assert "tool_outcome_unknown" in seen
    elif what == "undone":
        assert seen[-1] == "compensated"
        assert seen.count("compensation_started") == seen.count("step_compensated") == 1
        assert {call.idempotency_key for call in services.tools.calls if call.call.name == "undo"} == {
            f"{events[0].envelope.aggregate_id}:2.1:compensation"
        }
    elif what == "found":
        assert seen[-1] == "completed"
        assert seen.count("tool_outcome_unknown") == seen.count("tool_succeeded") == 1
    else:
        assert seen[-1] == "completed"
        assert calls.count("act") == (what == "approved")


@pytest.mark.serial
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("what", "point", "index"), sampled())
async def test_what_is_asked_and_what_is_undone_outlives_its_worker(
    nats: NatsServer, bus: Bus, tmp_path: Path, what: str, point: str, index: int
) -> None:
    services = FakeServices()
    services.tools.specs = (
        ToolSpec(name="act", effect=WRITE, timeout_ms=500),
        ToolSpec(name="undo", effect=IDEMPOTENT, timeout_ms=500),
        ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=500),
    )
    if what == "undone":
        services.router.parts = fails_after_its_call
    elif what == "found":
        services.tools.execute = never_answers
    await put_agent(bus, tools=TOOLS[what])
    socket: Any = f"unix:{tmp_path}/s"
    async with serve([services.register], socket, MeshGate("a-token-for-tests"), Telemetry(), drain_seconds=0):
        run = await admit(bus)
        human = asyncio.create_task(approve(bus, run)) if what == "approved" else None
        async with worker_process(nats, socket, point, index) as doomed:
            assert await doomed.wait() < 0
        async with worker_process(nats, socket, point, -1):
            events = await settled(bus, run)
    if human is not None:
        human.cancel()
        with suppress(asyncio.CancelledError):
            await human
    assert verify_chain([event.data for event in events]).ok
    assert replay([event.envelope for event in events]).identical
    check(what, events, services)
