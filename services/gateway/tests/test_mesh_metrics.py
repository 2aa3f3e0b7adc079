"""One page of several processes: who is on it, who is missed, and that a process counts once."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from astromesh_core.bus.connection import Bus
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.process_metrics import tells_metrics
from astromesh_core.rpc.serving import RunningServer, serve
from astromesh_core.telemetry.metrics import Metrics
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_gateway.mesh_metrics import ASK_SECONDS
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until

from .conftest import ASKED, Mesh, mesh_on
from .test_dependencies import configure

REMOTE = ("router", "guardrails", "operator", "gateway")
LOCAL = sorted(set(ASKED) - set(REMOTE))
HERE = "+".join(LOCAL)


@pytest.fixture
async def spread(nats: NatsServer, bus: Bus, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A gateway whose other services would run in processes of their own; none does yet."""
    peers = {name: f"unix:{tmp_path}/{name}.sock" for name in REMOTE}
    async with mesh_on(nats, bus, tmp_path, peers=peers) as running:
        yield running


def process(folder: Path, services: Collection[str], calls: int) -> AbstractAsyncContextManager[RunningServer]:
    """A process of these services, found at the socket of the first, in which so many models were called."""
    metrics = Metrics()
    metrics.model_calls.labels("ollama", "m", "ok").inc(calls)
    name = next(iter(services))
    registrar = tells_metrics(metrics, f"{name}-1", services)
    return serve([registrar], f"unix:{folder}/{name}.sock", MeshGate("token"), Telemetry(), drain_seconds=0)


async def samples(mesh: Mesh, family: str) -> dict[str, float]:
    """A family's values by service."""
    response = await mesh.client.get("/metrics")
    assert response.status_code == 200
    families = list(text_string_to_metric_families(response.text))
    assert len({each.name for each in families}) == len(families), "a family is opened twice"
    found = [sample for each in families if each.name == family for sample in each.samples]
    values = {sample.labels["service"]: sample.value for sample in found}
    assert len(values) == len(found), "a process counts twice"
    return values


async def up(mesh: Mesh) -> dict[str, float]:
    """Who answered, the services of this process apart."""
    told = await samples(mesh, "astromesh_process_up")
    assert {told.pop(name) for name in LOCAL} == {1}
    return told


async def test_a_process_is_on_the_page_while_it_answers_and_told_to_be_missing_else(
    spread: Mesh, tmp_path: Path
) -> None:
    assert await up(spread) == {"router": 0, "guardrails": 0, "operator": 0}
    async with process(tmp_path, ["router"], 3):

        async def there() -> bool:
            return (await samples(spread, "astromesh_model_calls")) == {"router": 3}

        assert await until(there)
        assert await up(spread) == {"router": 1, "guardrails": 0, "operator": 0}
        assert await samples(spread, "astromesh_runs_open") == {HERE: 0, "router": 0}

    assert await up(spread) == {"router": 0, "guardrails": 0, "operator": 0}
    assert await samples(spread, "astromesh_model_calls") == {}


async def test_services_of_one_process_count_once_and_are_both_named(spread: Mesh, tmp_path: Path) -> None:
    (tmp_path / "guardrails.sock").symlink_to(tmp_path / "router.sock")
    async with process(tmp_path, ["router", "guardrails"], 2):

        async def there() -> bool:
            return await up(spread) == {"router": 1, "guardrails": 1, "operator": 0}

        assert await until(there)
        assert await samples(spread, "astromesh_model_calls") == {"guardrails+router": 2}


async def test_what_is_switched_off_is_not_missed(spread: Mesh) -> None:
    await configure(spread.bus, router=False, guardrails=False)

    async def forgotten() -> bool:
        return await up(spread) == {"operator": 0}

    assert await until(forgotten)


async def test_a_process_that_hangs_holds_the_page_up_for_a_bounded_time(spread: Mesh, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "router.sock"))
        deaf.listen()
        begun = time.monotonic()
        assert (await up(spread))["router"] == 0
        assert time.monotonic() - begun < ASK_SECONDS + 3


async def test_processes_of_other_machines_are_left_to_their_own_scraper(
    nats: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    async with mesh_on(nats, bus, tmp_path, peers={"router": "router.internal:9000"}) as mesh:
        page = (await mesh.client.get("/metrics")).text
    assert "astromesh_runs_open 0.0" in page
    assert "service=" not in page


async def test_in_one_process_the_page_is_as_it_was(mesh: Mesh) -> None:
    page = (await mesh.client.get("/metrics")).text
    assert "astromesh_runs_open 0.0" in page
    assert "service=" not in page
