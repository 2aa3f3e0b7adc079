"""`astromesh up` and `serve` as users start them: greeting, signals, ports, processes that come and go."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest

from astromesh_testing.marked import killed
from astromesh_testing.mesh import COMMAND, Mesh, running_mesh
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.waiting import until

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ASTROMESH_")}


def command(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that is expected to end by itself, with these variables."""
    line, environment = [str(COMMAND), *map(str, arguments)], {**ENVIRONMENT, **variables}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = ConfigFolder(tmp_path / "config")
    folder.agent("desk", ["http://127.0.0.1:9/v1"], tools=[])
    return folder.path


@pytest.mark.serial
async def test_up_greets_serves_beside_another_and_ends_well(config: Path, tmp_path: Path) -> None:
    async with running_mesh(config, tmp_path / "one") as one, running_mesh(config, tmp_path / "two") as two:
        assert {one.port, one.grpc_port}.isdisjoint({two.port, two.grpc_port})
        text = one.log.read_text(encoding="utf-8")
        assert f"HTTP    {one.url}" in text
        assert f"gRPC    {one.grpc_address}" in text
        assert "astromesh chat desk" in text
        assert await one.stop() == 0
        await one.marked.gone(2)
        assert (await two.client.get("/v1/health")).status_code == 200


@pytest.mark.serial
async def test_readiness_names_the_process_that_hangs(config: Path, tmp_path: Path) -> None:
    async with running_mesh(config, tmp_path / "data", processes=True) as mesh:
        checks = (await mesh.client.get("/v1/health/ready")).json()["checks"]
        others = {"operator", "guardrails", "router", "rag", "tools", "memory", "history", "runtime"}
        assert {name for name in others if checks.get(name, {}).get("ok")} == others

        async def red() -> list[str]:
            told = await mesh.client.get("/v1/health/ready", timeout=5)
            return [f"{name}: {check['reason']}" for name, check in told.json()["checks"].items() if not check["ok"]]

        os.kill(mesh.pid_of("router"), signal.SIGSTOP)
        assert await until(red) == ["router: router did not answer within 1 s"]
        os.kill(mesh.pid_of("router"), signal.SIGCONT)
        await until(partial(answers, mesh), 20)
        assert await mesh.stop() == 0
        await mesh.marked.gone(2)


@pytest.mark.serial
async def test_a_second_signal_ends_every_process_at_once(config: Path, tmp_path: Path) -> None:
    async with running_mesh(config, tmp_path / "data", processes=True) as mesh:
        parent = next(pid for pid, line in mesh.marked.running().items() if "--processes" in line)
        # It would not heed a first one, and keep the others waiting.
        os.kill(mesh.pid_of("gateway"), signal.SIGSTOP)
        os.kill(parent, signal.SIGINT)
        await asyncio.sleep(0.3)
        os.kill(parent, signal.SIGINT)
        assert await mesh.stop(5) == 0
        await mesh.marked.gone(2)


@pytest.mark.serial
async def test_processes_come_back_and_are_named_and_all_go_with_their_parent(config: Path, tmp_path: Path) -> None:
    async with running_mesh(config, tmp_path / "data", processes=True) as mesh:
        await mesh.kill_process("gateway")
        await until(partial(answers, mesh), 20)
        log = mesh.log.read_text(encoding="utf-8")
        assert any("gateway" in line and "starting it again" in line for line in log.splitlines())

        parent = next(pid for pid, line in mesh.marked.running().items() if "--processes" in line)
        await killed(parent)
        await mesh.marked.gone(15)


@pytest.mark.parametrize("option", [[], ["--processes"]])
def test_a_port_that_is_taken_is_named(config: Path, tmp_path: Path, option: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = command(
            "up", "--config", config, "--data", tmp_path / "data", "--port", port, "--grpc-port", 0, *option
        )

    assert ended.returncode == 75
    assert f"127.0.0.1:{port}" in ended.stderr


@pytest.mark.parametrize("arguments", [["serve", "router"], ["up", "--processes", "--port", "0", "--grpc-port", "0"]])
def test_a_metrics_port_that_is_taken_is_named_with_its_setting(
    config: Path, tmp_path: Path, arguments: list[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = (*arguments, "--config", config, "--data", tmp_path / "data")
        ended = command(*line, ASTROMESH_METRICS_PORT=str(port))

    assert ended.returncode == 75
    assert "ASTROMESH_METRICS_PORT" in ended.stderr
    assert f"127.0.0.1:{port}" in ended.stderr


def test_metrics_ports_for_all_processes_have_to_exist(config: Path, tmp_path: Path) -> None:
    line = ("up", "--processes", "--port", 0, "--grpc-port", 0, "--config", config, "--data", tmp_path / "data")
    ended = command(*line, ASTROMESH_METRICS_PORT="65528")

    assert ended.returncode == 78
    assert "ASTROMESH_METRICS_PORT needs 9 ports from 65528 on" in ended.stderr


@pytest.mark.parametrize("option", [[], ["--processes"]])
def test_an_address_that_others_reach_is_refused_before_anything_starts(
    config: Path, tmp_path: Path, option: list[str]
) -> None:
    ended = command("up", "--config", config, "--data", tmp_path / "data", "--host", "0.0.0.0", *option)

    assert ended.returncode == 78
    assert "0.0.0.0 can be reached from other machines and no API key is configured" in ended.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--port", "70000"], "ASTROMESH_PORT"),
        (["serve", "router", "--metrics-port", "70000"], "ASTROMESH_METRICS_PORT"),
        (["up", "--once"], "--once belongs to --demo"),
        (["serve", "routr"], "there is no service 'routr'"),
        (["up", "--prot", "1"], "No such option"),
    ],
)
def test_wrong_usage_exits_2_with_its_reason(arguments: list[str], said: str) -> None:
    ended = command(*arguments)

    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.mark.serial
async def test_several_services_in_one_process_are_each_found_by_the_others(config: Path, tmp_path: Path) -> None:
    """The mesh without router and tools, and these two beside it as one process."""
    (config / "runtime.yaml").write_text(
        "apiVersion: astromesh/v1\nkind: RuntimeConfig\nmetadata: {name: mesh}\n"
        "spec: {services: {router: false, tools: false}}\n",
        encoding="utf-8",
    )
    data = tmp_path / "data"
    async with running_mesh(config, data) as mesh:
        bus = {
            "ASTROMESH_NATS_URL": f"nats://127.0.0.1:{mesh.nats_port}",
            "ASTROMESH_NATS_CREDENTIALS": str(data / "nats" / "credentials" / "mesh.json"),
        }
        arguments = ("serve", "tools", "router", "--config", str(config), "--data", str(data))
        beside = await asyncio.create_subprocess_exec(COMMAND, *arguments, env={**mesh.environment, **bus})

        async def judged() -> bool:
            agent = (await mesh.client.get("/v1/agents/desk")).json()
            reasons = {condition["type"]: condition["reason"] for condition in agent["conditions"]}
            return (reasons["ToolsRegistered"], reasons["ProviderReachable"]) == ("NoTools", "NoProviderReachable")

        await until(judged, 20)
        assert sockets(data) == ["router.sock", "tools.sock"]
        beside.terminate()
        assert await beside.wait() == 0
        assert sockets(data) == []


def sockets(data: Path) -> list[str]:
    """Where services of this mesh are found."""
    return sorted(path.name for path in (data / "run").iterdir())


async def answers(mesh: Mesh) -> bool:
    """Whether the mesh serves."""
    try:
        return (await mesh.client.get("/v1/health/ready", timeout=5)).status_code == 200
    except httpx.TransportError:
        return False
