"""Readiness of a mesh in several processes: each service by name, why it is red, and what nobody misses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.readiness import Health, Readiness
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.serving import RunningServer, serve
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until

from .conftest import Mesh, mesh_on

REMOTE = ("router", "guardrails", "rag", "operator", "gateway")


@pytest.fixture
async def spread(nats: NatsServer, bus: Bus, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A gateway whose other services would run in processes of their own; none does yet."""
    peers = {name: f"unix:{tmp_path}/{name}.sock" for name in REMOTE}
    async with mesh_on(nats, bus, tmp_path, peers=peers) as running:
        yield running


async def checks(mesh: Mesh) -> dict[str, Health]:
    """What a probe is told."""
    told = (await mesh.client.get("/v1/health/ready")).json()["checks"]
    return {name: Health(check["ok"], check["reason"]) for name, check in told.items()}


def process(
    tmp_path: Path, service: str, readiness: Readiness | None = None
) -> AbstractAsyncContextManager[RunningServer]:
    """A process of a service."""
    address = f"unix:{tmp_path}/{service}.sock"
    return serve([], address, MeshGate("token"), Telemetry(), readiness=readiness, drain_seconds=0)


async def configure(bus: Bus, **services: bool) -> None:
    ref = ResourceRef(kind="RuntimeConfig", namespace="default", name="mesh")
    spec = json.dumps({"services": services})
    await bus.resources.put(ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=spec))


async def test_each_service_of_another_process_is_a_check_of_its_own_name(spread: Mesh, tmp_path: Path) -> None:
    first = await checks(spread)
    assert {"router", "guardrails", "rag", "operator", "workers", "resources"} <= first.keys()
    assert "gateway" not in first
    assert not first["router"].ok
    assert first["router"].reason.startswith("router does not answer")

    async with process(tmp_path, "router"):
        assert await until(lambda: _green(spread, "router"))
        assert not (await checks(spread))["guardrails"].ok


async def test_a_service_that_is_not_ready_hands_its_reason_on(spread: Mesh, tmp_path: Path) -> None:
    readiness = Readiness()

    async def stuck() -> Health:
        return Health(False, "the index is being built")

    readiness.register("index", stuck)
    async with process(tmp_path, "rag", readiness):

        async def told() -> bool:
            return "index: the index is being built" in (await checks(spread))["rag"].reason

        assert await until(told)


async def test_a_service_that_is_switched_off_is_not_missed_and_said_to_be(spread: Mesh) -> None:
    await configure(spread.bus, rag=False, runtime=False)

    assert await until(lambda: _green(spread, "rag"))
    found = await checks(spread)
    assert "spec.services.rag is false in runtime.yaml" in found["rag"].reason
    assert await until(lambda: _green(spread, "workers")), "no worker is wanted"
    assert not found["router"].ok

    await configure(spread.bus, rag=True)
    assert await until(lambda: _red(spread, "rag"))
    assert not (await checks(spread))["workers"].ok


async def test_the_mesh_works_on_without_its_control_plane_once_it_has_resources(
    nats: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    async with mesh_on(nats, bus, tmp_path, peers={"operator": f"unix:{tmp_path}/operator.sock"}) as mesh:
        with_resources = (await checks(mesh))["operator"]
        for record in mesh.gateway.directory.records():
            await bus.resources.delete(
                record.ref.kind, record.ref.namespace, record.ref.name, managed_by=record.managed_by
            )
        assert await until(lambda: _red(mesh, "operator"))

    assert with_resources.ok
    assert "operator does not answer" in with_resources.reason
    assert "works on" in with_resources.reason


async def _green(mesh: Mesh, name: str) -> bool:
    return (await checks(mesh))[name].ok


async def _red(mesh: Mesh, name: str) -> bool:
    return not (await checks(mesh))[name].ok
