"""Builds the gateway from the platform, and opens its two ports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from astromesh.v1.agent_pb2_grpc import add_AgentServiceServicer_to_server
from astromesh.v1.history_pb2_grpc import HistoryServiceStub
from astromesh.v1.memory_pb2_grpc import MemoryServiceStub
from astromesh.v1.rag_pb2_grpc import RagServiceStub
from astromesh.v1.runtime_pb2_grpc import RuntimeServiceStub
from astromesh.v1.tools_pb2_grpc import ToolsServiceStub
from astromesh_core.bus.loads import HeardLoads
from astromesh_core.bus.owners import partition_owners
from astromesh_core.errors import Denied
from astromesh_core.events.identity import PARTITIONS
from astromesh_core.readiness import Health
from astromesh_core.rpc.addresses import is_loopback
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.serving import serve
from astromesh_core.service import Platform
from astromesh_core.telemetry.logs import logger
from astromesh_gateway.admission import Admission
from astromesh_gateway.auth import Authenticator
from astromesh_gateway.capacity import Capacity
from astromesh_gateway.directory import Directory, watching
from astromesh_gateway.following import Following
from astromesh_gateway.gateway import Departures, Gateway, Services
from astromesh_gateway.http import build_app
from astromesh_gateway.server import serving
from astromesh_gateway.service import AgentServicer, KeyGate

KEYS_WITHIN_SECONDS = 10.0
"""How long a gateway that others can reach waits at its start for a first API key."""

OWNERS_STAND_SECONDS = 5.0
"""How long the records of owners are believed while the same workers live."""

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
        await _guarded(gateway, settings.host)
        servicer = AgentServicer(gateway)

        def register(server: RpcServer) -> None:
            add_AgentServiceServicer_to_server(servicer, server)

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
            serving(build_app(gateway), settings.host, settings.port, drain_seconds) as port,
        ):
            _log.info("listening", http=f"http://{settings.host}:{port}", grpc=rpc.address)
            try:
                yield
            finally:
                gateway.draining.set()
        await gateway.departures.settle()


@asynccontextmanager
async def open_gateway(platform: Platform) -> AsyncGenerator[Gateway]:
    """The gateway's parts, without its ports."""
    bus, channel = platform.bus, platform.connections.channel
    loads = await bus.loads.hear()
    try:
        async with watching(bus.resources, bus.status) as directory:
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
            platform.readiness.register("resources", directory.health)
            platform.readiness.register("workers", _WorkersCheck(platform, loads))
            yield Gateway(
                bus=bus,
                services=Services(
                    history=HistoryServiceStub(channel("history")),
                    memory=MemoryServiceStub(channel("memory")),
                    runtime=RuntimeServiceStub(channel("runtime")),
                    tools=ToolsServiceStub(channel("tools")),
                    rag=RagServiceStub(channel("rag")),
                ),
                directory=directory,
                authenticator=Authenticator(directory, platform.settings.host),
                admission=admission,
                following=Following(bus, admission),
                departures=Departures(bus.signals),
                telemetry=platform.telemetry,
                readiness=platform.readiness,
                mesh_key=platform.mesh_key,
            )
    finally:
        loads.close()


async def _guarded(gateway: Gateway, host: str) -> None:
    """Returns once it is safe to listen. Raises Denied."""
    if is_loopback(host):
        return
    directory: Directory = gateway.directory
    try:
        async with asyncio.timeout(KEYS_WITHIN_SECONDS), directory.changed:
            await directory.changed.wait_for(gateway.authenticator.has_keys)
    except TimeoutError:
        raise Denied(
            f"{host} can be reached from other machines and no API key is configured: add spec.api_keys to "
            "runtime.yaml, or listen on 127.0.0.1"
        ) from None


class _WorkersCheck:
    """Every partition is owned by a worker that tells its load. The records are read again only now and then."""

    def __init__(self, platform: Platform, loads: HeardLoads) -> None:
        self._bus = platform.bus
        self._loads = loads
        self._served: frozenset[str] = frozenset()
        self._read_at = 0.0

    async def __call__(self) -> Health:
        """Green where all partitions are owned."""
        workers = frozenset(self._loads.workers())
        if not workers:
            return Health(False, "no runtime worker tells its load")
        if workers != self._served or time.monotonic() - self._read_at > OWNERS_STAND_SECONDS:
            owners = await partition_owners(self._bus)
            served = sum(owner in workers for owner in owners.values())
            if served < PARTITIONS:
                return Health(False, f"{served} of {PARTITIONS} partitions are owned by {len(workers)} workers")
            self._served, self._read_at = workers, time.monotonic()
        return Health(True, f"all {PARTITIONS} partitions are owned by {len(workers)} workers")
