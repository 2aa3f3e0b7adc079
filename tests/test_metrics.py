"""A mesh of processes, scraped: one page for the machine, and each process by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from astromesh_testing.mesh import Mesh, free_ports
from astromesh_testing.waiting import until

from .asking import ask
from .conftest import OpenMesh

SERVICES = ("operator", "guardrails", "router", "rag", "tools", "memory", "history", "runtime", "gateway")

pytestmark = pytest.mark.serial


async def families(client: httpx.AsyncClient) -> Mapping[str, Metric]:
    """The page's families by name, each of which stands once."""
    response = await client.get("/metrics", timeout=10)
    assert response.status_code == 200
    read = list(text_string_to_metric_families(response.text))
    assert len({family.name for family in read}) == len(read)
    return {family.name: family for family in read}


async def counted(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The sum of a counter's samples with these labels."""
    family = (await families(client)).get(name)
    samples = family.samples if family else ()
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


async def up(mesh: Mesh) -> dict[str, float]:
    """Which services' processes are on the page."""
    family = (await families(mesh.client))["astromesh_process_up"]
    return {sample.labels["service"]: sample.value for sample in family.samples}


async def test_the_gateway_tells_what_every_process_of_the_machine_counted(open_mesh: OpenMesh) -> None:
    mesh = (await open_mesh(processes=True)).mesh
    assert (await ask(mesh, "add 20 22")).json()["answer"] == "It is 42."

    async def finished() -> bool:
        return await counted(mesh.client, "astromesh_runs_finished", service="runtime", agent="talker") == 1

    assert await until(finished), "the runtime counts a run once its end is stored"
    assert await counted(mesh.client, "astromesh_model_calls", service="router", outcome="ok") == 2
    assert await counted(mesh.client, "astromesh_tool_calls", service="runtime", tool="add", outcome="ok") == 1
    assert await counted(mesh.client, "astromesh_runs_admitted", service="gateway", agent="talker") == 1
    assert await up(mesh) == dict.fromkeys(SERVICES, 1)

    os.kill(mesh.pid_of("router"), signal.SIGSTOP)
    assert await up(mesh) == {**dict.fromkeys(SERVICES, 1), "router": 0}
    assert await counted(mesh.client, "astromesh_model_calls") == 0
    os.kill(mesh.pid_of("router"), signal.SIGCONT)

    async def whole() -> bool:
        return await up(mesh) == dict.fromkeys(SERVICES, 1)

    assert await until(whole, 20)
    await mesh.kill_process("router")
    assert await until(whole, 20), "a process that was started again is on the page"


async def test_each_process_can_be_scraped_by_itself(open_mesh: OpenMesh) -> None:
    # Below the ports that the kernel hands out, so that nine in a row stay free.
    first = 20000 + free_ports(1)[0] % 10000
    mesh = (await open_mesh(processes=True, metrics_port=first, serve_metrics=False)).mesh
    assert (await ask(mesh, "add 20 22")).json()["answer"] == "It is 42."
    assert (await mesh.client.get("/metrics")).status_code == 404

    found: dict[str, float] = {}
    for place, service in enumerate(SERVICES):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{first + place}") as client:
            found[service] = await counted(client, "astromesh_model_calls", outcome="ok")
    assert found == {**dict.fromkeys(SERVICES, 0), "router": 2}

    assert await mesh.stop() == 0
    await mesh.marked.gone(2)
