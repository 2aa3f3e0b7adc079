"""Builds the runtime from the platform: a worker that owns partitions, and the service that replays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceStub
from astromesh.v1.memory_pb2_grpc import MemoryServiceStub
from astromesh.v1.rag_pb2_grpc import RagServiceStub
from astromesh.v1.router_pb2_grpc import RouterServiceStub
from astromesh.v1.runtime_pb2_grpc import add_RuntimeServiceServicer_to_server
from astromesh.v1.tools_pb2_grpc import ToolsServiceStub
from astromesh_core.bus.intake import Intake
from astromesh_core.bus.loads import Loads
from astromesh_core.bus.ownership import Ownership
from astromesh_core.readiness import Check, Health
from astromesh_core.rpc.ports import Registrar, RpcServer
from astromesh_core.service import Platform
from astromesh_runtime.agents import Agents
from astromesh_runtime.child_runs import ChildRuns
from astromesh_runtime.dispatch import Dispatch
from astromesh_runtime.open_runs import Opener
from astromesh_runtime.scope import Services
from astromesh_runtime.service import RuntimeServicer
from astromesh_runtime.session_log import SessionWriter
from astromesh_runtime.sessions import SessionQueues
from astromesh_runtime.worker import Worker

RUNS_AT_ONCE = 256
"""Sessions that one worker drives at a time; what comes beyond waits in its queue."""

DRAIN_SHARE = 0.8
"""Of the time that a process has to drain: what is left is for handing the partitions over."""

LOAD_SECONDS = 0.25
QUIET_LOADS = 4
"""Of so many loads in a row that tell of nothing, one is told."""


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[Registrar]:
    """Yields what adds the servicer. While open, this process drives the runs of the partitions that it owns.

    Leaving lets runs at work end for a while and hands the partitions over; what is left goes on elsewhere.
    """
    # The lock on the embedded mesh's data folder keeps it alone: nothing of an earlier life is waited for.
    sole = not platform.settings.nats_url
    worker_name = "embedded" if sole else platform.instance
    services = _services(platform, worker_name)
    async with Ownership(platform.bus, worker_name, sole=sole) as ownership, Intake(platform.bus) as intake:
        agents = Agents(platform.bus.resources, services.tools)
        metrics = platform.telemetry.metrics
        opener = Opener(platform.bus, agents, services, worker_name, time.time_ns, metrics, ownership.epoch)
        sessions = SessionWriter(platform.bus, worker_name, time.time_ns)
        dispatch = Dispatch(opener, sessions, SessionQueues(RUNS_AT_ONCE), platform.telemetry)
        metrics.partitions_owned.set_function(lambda: len(ownership.held))
        metrics.runs_open.set_function(lambda: sum(dispatch.load().values()))
        metrics.runs_queued.set_function(dispatch.waiting)
        worker = Worker(platform.bus.log, ownership, intake, dispatch)
        tasks = [
            asyncio.create_task(agents.watch(), name="agents"),
            asyncio.create_task(worker.run(), name="worker"),
            asyncio.create_task(_tell_load(platform.bus.loads, worker_name, dispatch), name="load"),
        ]
        platform.readiness.register("runtime", _health(ownership, intake, tasks))
        servicer = RuntimeServicer(platform.bus)

        def register(server: RpcServer) -> None:
            add_RuntimeServiceServicer_to_server(servicer, server)

        try:
            yield register
        finally:
            await dispatch.drain(platform.settings.drain_seconds * DRAIN_SHARE)
            await worker.checkpoint_all()
            await ownership.release()
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


def _services(platform: Platform, worker: str) -> Services:
    channel = platform.connections.channel
    return Services(
        router=RouterServiceStub(channel("router")),
        tools=ToolsServiceStub(channel("tools")),
        guardrails=GuardrailsServiceStub(channel("guardrails")),
        memory=MemoryServiceStub(channel("memory")),
        rag=RagServiceStub(channel("rag")),
        publish_delta=platform.bus.deltas.publish,
        children=ChildRuns(platform.bus, platform.mesh_key, worker, time.time_ns),
        timers=platform.bus.signals,
    )


async def _tell_load(loads: Loads, worker: str, dispatch: Dispatch) -> None:
    taken, nothing = -1, 0
    while True:
        load = dispatch.load()
        # A run that came and ended since is a change too: who admitted it waits to hear of it.
        nothing = 0 if load or dispatch.taken != taken else nothing + 1
        if nothing <= 1 or nothing % QUIET_LOADS == 0:
            loads.tell(worker, load)
        taken = dispatch.taken
        await asyncio.sleep(LOAD_SECONDS)


def _health(ownership: Ownership, intake: Intake, tasks: Sequence[asyncio.Task[None]]) -> Check:
    async def check() -> Health:
        for task in tasks:
            if task.done():
                return Health(False, f"its {task.get_name()} task has ended; the log has the details")
        for part in (ownership.health(), intake.health()):
            if not part.ok:
                return Health(False, part.reason)
        held = len(ownership.held)
        return Health(bool(held), f"owns {held} partitions")

    return check
