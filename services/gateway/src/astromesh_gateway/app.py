"""Builds the gateway from the platform, and opens its two ports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from astromesh.v1.agent_pb2_grpc import add_AgentServiceServicer_to_server
from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceStub
from astromesh.v1.history_pb2_grpc import HistoryServiceStub
from astromesh.v1.memory_pb2_grpc import MemoryServiceStub
from astromesh.v1.rag_pb2_grpc import RagServiceStub, add_RagServiceServicer_to_server
from astromesh.v1.runtime_pb2_grpc import RuntimeServiceStub
from astromesh.v1.sessions_pb2_grpc import add_SessionServiceServicer_to_server
from astromesh.v1.tools_pb2_grpc import ToolsServiceStub
from astromesh_core.errors import Denied
from astromesh_core.readiness import Health
from astromesh_core.rpc.addresses import is_loopback
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.serving import serve
from astromesh_core.service import Platform
from astromesh_core.settings import ADDRESS_FILE
from astromesh_core.telemetry.logs import logger
from astromesh_gateway.admission import Admission
from astromesh_gateway.auth import Authenticator
from astromesh_gateway.capacity import Capacity
from astromesh_gateway.dependencies import register_checks
from astromesh_gateway.directory import watching
from astromesh_gateway.following import Following
from astromesh_gateway.gateway import Departures, Gateway, Services
from astromesh_gateway.http import build_app
from astromesh_gateway.memory.service import SessionServicer
from astromesh_gateway.mesh_metrics import MeshMetrics
from astromesh_gateway.rag.service import RagServicer
from astromesh_gateway.schedules import Scheduler
from astromesh_gateway.server import serving
from astromesh_gateway.service import AgentServicer, KeyGate
from astromesh_gateway.waiting import Sessions

KEYS_WITHIN_SECONDS = 10.0
"""How long a gateway that others can reach waits at its start for a first API key."""

PUBLISHED_SECONDS = 1.0
"""How long it waits once the operator beside it has published the config folder."""

_LOOK_SECONDS = 0.1

DRAIN_SHARE = 0.8
"""Of the time that a process has to drain: what is left is for everything behind the ports."""

_log = logger(__name__)


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[None]:
    """Serves HTTP and public gRPC within the block. Nothing inside the mesh calls the gateway, so it yields None.

    Raises Denied where others could reach it and no API key is configured, Unavailable where a port is taken.
    """
    settings = platform.settings
    drain_seconds = settings.drain_seconds * DRAIN_SHARE
    async with open_gateway(platform) as gateway:
        await _guarded(platform, gateway)
        servicer, sessions, pipelines = AgentServicer(gateway), SessionServicer(gateway), RagServicer(gateway)

        def register(server: RpcServer) -> None:
            add_AgentServiceServicer_to_server(servicer, server)
            add_SessionServiceServicer_to_server(sessions, server)
            add_RagServiceServicer_to_server(pipelines, server)

        address = (
            f"[{settings.host}]:{settings.grpc_port}"
            if ":" in settings.host
            else f"{settings.host}:{settings.grpc_port}"
        )
        gate = KeyGate(gateway.authenticator)
        async with (
            serve(
                [register],
                address,
                gate,
                platform.telemetry,
                readiness=platform.readiness,
                drain_seconds=drain_seconds,
            ) as rpc,
            serving(
                build_app(gateway, serve_metrics=settings.serve_metrics), settings.host, settings.port, drain_seconds
            ) as port,
            _scheduling(platform, gateway),
        ):
            _log.info("listening", http=f"http://{settings.host}:{port}", grpc=rpc.address)
            try:
                with _told(settings.data_dir / ADDRESS_FILE, settings.host, port):
                    yield
            finally:
                gateway.draining.set()
        await gateway.departures.settle()


@asynccontextmanager
async def _scheduling(platform: Platform, gateway: Gateway) -> AsyncGenerator[None]:
    """Asks agents when their schedules are due, within the block."""
    task = asyncio.create_task(Scheduler(gateway.directory, gateway.admission).run(), name="schedules")

    async def health() -> Health:
        return Health(False, "schedules are not kept any more: restart the gateway") if task.done() else Health(True)

    platform.readiness.register("schedules", health)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def open_gateway(platform: Platform) -> AsyncGenerator[Gateway]:
    """The gateway's parts, without its ports."""
    bus, channel = platform.bus, platform.connections.channel
    loads = await bus.loads.hear()
    try:
        async with watching(bus.resources, bus.status) as directory, AsyncExitStack() as on_demand:
            capacity = Capacity(loads, directory.max_open_runs)
            admission = Admission(
                bus,
                directory,
                capacity,
                platform.mesh_key,
                f"gateway/{platform.instance}",
                platform.telemetry,
                time.time_ns,
            )
            register_checks(platform, directory, loads)
            history = HistoryServiceStub(channel("history"))
            yield Gateway(
                bus=bus,
                services=Services(
                    history=history,
                    memory=MemoryServiceStub(channel("memory")),
                    runtime=RuntimeServiceStub(channel("runtime")),
                    tools=ToolsServiceStub(channel("tools")),
                    rag=RagServiceStub(channel("rag")),
                    guardrails=GuardrailsServiceStub(channel("guardrails")),
                ),
                directory=directory,
                authenticator=Authenticator(directory, platform.settings.host),
                admission=admission,
                following=Following(bus, admission, Sessions(bus.log, history)),
                departures=Departures(bus.signals),
                telemetry=platform.telemetry,
                metrics=MeshMetrics(platform.telemetry.metrics, platform.connections, directory.switched_off),
                readiness=platform.readiness,
                mesh_key=platform.mesh_key,
                on_demand=on_demand,
            )
    finally:
        loads.close()


@contextmanager
def _told(file: Path, host: str, port: int) -> Generator[None]:
    """Says in the data folder where HTTP is, within the block: commands that are given the folder find the mesh."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(f"{address}\n", encoding="utf-8")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


async def _guarded(platform: Platform, gateway: Gateway) -> None:
    """Returns once it is safe to listen. Raises Denied."""
    host = platform.settings.host
    if is_loopback(host):
        return
    changed, has_keys = gateway.directory.changed, gateway.authenticator.has_keys
    deadline = time.monotonic() + KEYS_WITHIN_SECONDS
    while not has_keys():
        if time.monotonic() > deadline:
            raise Denied(
                f"{host} can be reached from other machines and no API key is configured: add spec.api_keys to "
                "runtime.yaml, or listen on 127.0.0.1"
            )
        if await _published_here(platform, gateway):
            deadline = min(deadline, time.monotonic() + PUBLISHED_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS), changed:
                await changed.wait_for(has_keys)


async def _published_here(platform: Platform, gateway: Gateway) -> bool:
    """Whether an operator in this process has published the config folder, so that no key is on its way any more."""
    if "operator" in platform.connections.elsewhere or not gateway.directory.synced.is_set():
        return False
    operator = (await platform.readiness.report()).checks.get("operator")
    return operator is not None and operator.ok
