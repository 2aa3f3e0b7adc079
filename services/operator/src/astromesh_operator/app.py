"""Builds the operator in its local form: desired state from the config folder, status from what services answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceStub
from astromesh.v1.memory_pb2_grpc import MemoryServiceStub
from astromesh.v1.router_pb2_grpc import RouterServiceStub
from astromesh.v1.tools_pb2_grpc import ToolsServiceStub
from astromesh_core.rpc.connections import Connections
from astromesh_core.service import Platform
from astromesh_operator.controller import Controller
from astromesh_operator.listening import listen
from astromesh_operator.observing import Observer, Services
from astromesh_operator.publishing import Publisher
from astromesh_operator.syncing import FolderSync

START_SECONDS = 1.5
"""How long listening, which imports FastStream, leaves the cores to the start of the other services. What is told
meanwhile waits in its stream."""


@asynccontextmanager
async def open_service(platform: Platform) -> AsyncGenerator[None]:
    """Serves nobody: it publishes and observes. Ready once the config folder has been published."""
    bus = platform.bus
    controller = Controller(bus.resources, bus.status, Observer(services(platform.connections)), _now)
    sync = FolderSync(platform.settings.config_dir, Publisher(bus.resources), controller)
    platform.readiness.register("operator", sync.health)
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(part) for part in (sync.run(), controller.run(), _listen(platform, controller))]
        yield
        for task in work:
            task.cancel()


async def _listen(platform: Platform, controller: Controller) -> None:
    await asyncio.sleep(START_SECONDS)
    await listen(platform.bus, controller.told, platform.telemetry.metrics.registry)


def services(connections: Connections) -> Services:
    """The stubs of everyone who is asked."""
    return Services(
        router=RouterServiceStub(connections.channel("router")),
        router_serves=connections.health("router"),
        memory=MemoryServiceStub(connections.channel("memory")),
        tools=ToolsServiceStub(connections.channel("tools")),
        guardrails=GuardrailsServiceStub(connections.channel("guardrails")),
        rag=connections.health("rag"),
        runtime=connections.health("runtime"),
    )


def _now() -> datetime:
    return datetime.now(UTC)
