"""A gateway on a real server, behind it a scripted runtime and fakes of the services it asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from astromesh_core.bus.connection import Bus
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.service import Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_gateway.app import open_gateway
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.http import build_app
from astromesh_gateway.server import serving
from astromesh_testing.admission import KEY, put_agent
from astromesh_testing.nats import NatsServer
from astromesh_testing.scripted_runtime import ScriptedRuntime, scripted_runtime

from .asked_services import AskedServices

ASKED = ("history", "memory", "runtime", "tools", "rag", "guardrails")


@dataclass
class Mesh:
    """What a test holds."""

    gateway: Gateway
    platform: Platform
    bus: Bus
    runtime: ScriptedRuntime
    services: AskedServices
    client: httpx.AsyncClient
    url: str


@asynccontextmanager
async def mesh_on(
    nats: NatsServer,
    bus: Bus,
    folder: Path,
    telemetry: Telemetry | None = None,
    peers: Mapping[str, str] | None = None,
    **settings: object,
) -> AsyncGenerator[Mesh]:
    """A gateway with its own rights on the bus, served on a free port. `peers` are addresses of other processes."""
    telemetry = telemetry or Telemetry()
    local = InProcessServer(telemetry)
    services = AskedServices()
    local.install(services.register)
    chosen = Settings.model_validate({"data_dir": folder, "port": 0, "grpc_port": 0, "nats_url": nats.url, **settings})
    await put_agent(bus)
    async with nats.bus("gateway") as own, scripted_runtime(bus) as runtime:
        connections = Connections(local, [name for name in ASKED if name not in (peers or {})], peers or {}, "token")
        platform = Platform(chosen, own, connections, telemetry, Readiness(), KEY, "one")
        async with open_gateway(platform) as gateway:
            await gateway.directory.synced.wait()
            async with (
                serving(build_app(gateway), "127.0.0.1", 0, 1) as port,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
            ):
                yield Mesh(gateway, platform, bus, runtime, services, client, f"127.0.0.1:{port}")
        await connections.close()
    await local.stop(0)


@pytest.fixture
async def mesh(nats: NatsServer, bus: Bus, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A gateway without keys, for which "agent" answers "it is 2"."""
    async with mesh_on(nats, bus, tmp_path) as running:
        yield running
