"""A runtime worker in the test's process, on a real nats-server, with fake services."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.service import Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime.app import open_service
from astromesh_testing.admission import KEY
from astromesh_testing.nats import NatsServer
from astromesh_testing.services import FakeServices

CALLED = ("router", "tools", "memory", "guardrails", "rag")

StartWorker = Callable[[Bus, FakeServices, str], AbstractAsyncContextManager[Platform]]


@asynccontextmanager
async def worker_of(bus: Bus, services: FakeServices, name: str, url: str, folder: Path) -> AsyncGenerator[Platform]:
    telemetry = Telemetry()
    local = InProcessServer(telemetry)
    local.install(services.register)
    connections = Connections(local, CALLED, {}, "token")
    settings = Settings(data_dir=folder, nats_url=url, drain_seconds=1)
    platform = Platform(settings, bus, connections, telemetry, Readiness(), KEY, name)
    async with open_service(platform):
        yield platform
    await local.stop(0)
    await connections.close()


@pytest.fixture
def start_worker(nats: NatsServer, tmp_path: Path) -> StartWorker:
    """Starts a worker with a name of its own."""

    def start(bus: Bus, services: FakeServices, name: str) -> AbstractAsyncContextManager[Platform]:
        return worker_of(bus, services, name, nats.url, tmp_path)

    return start


@pytest.fixture
def services() -> FakeServices:
    """What the worker of this test calls."""
    return FakeServices()


@pytest.fixture
async def worker(bus: Bus, services: FakeServices, start_worker: StartWorker) -> AsyncGenerator[Platform]:
    """One worker, serving."""
    async with start_worker(bus, services, "worker-1") as platform:
        yield platform
