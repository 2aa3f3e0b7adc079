"""Official MCP servers from the registries, as users declare them: they are not ours, nor of the SDK that we use."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import orjson
import pytest

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, TOOL_EFFECT_KIND_WRITE
from astromesh_testing.contracts.placement import in_process
from astromesh_testing.mesh import free_ports
from astromesh_testing.waiting import until

from .mcp_agents import address, connected, offered
from .serving import Mesh, failed, running

SCRIPT = Path(__file__).parents[3] / "scripts" / "reference_servers.py"
PACKAGES = "node_modules/@modelcontextprotocol"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", in_process) as mesh:
        yield mesh


@pytest.fixture(scope="session")
def servers() -> Path:
    """The folder of the servers that npm installs."""
    installed = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=310, check=False)
    told = installed.stdout.strip() or installed.stderr.strip()[-300:]
    if installed.returncode:
        pytest.skip(told)
    return Path(told) / PACKAGES


def everything(servers: Path, *way: str) -> list[str]:
    return ["node", str(servers / "server-everything" / "dist" / "index.js"), *way]


def entry(command: list[str], **fields: object) -> dict[str, object]:
    """A program as an entry of an agent's file."""
    return {"name": "harbour", "type": "mcp", "command": command[0], "args": command[1:], **fields}


@pytest.mark.timeout(360)
async def test_everything_is_asked_over_standard_streams(mesh: Mesh, servers: Path) -> None:
    agent = mesh.agents.add(entry(everything(servers, "stdio"), resources=True, prompts=True, timeout_seconds=3))
    tools = await offered(mesh, agent)
    assert await mesh.output(agent, "echo", '{"message": "ahoy"}') == "Echo: ahoy"
    assert await mesh.output(agent, "get-sum", '{"a": 2, "b": 3}') == "The sum of 2 and 3 is 5."
    weather = orjson.loads(await mesh.output(agent, "get-structured-content", '{"location": "Chicago"}'))
    assert set(weather) == {"temperature", "conditions", "humidity"}
    assert "image/png, which a model cannot read]" in await mesh.output(agent, "get-tiny-image")
    assert "[resource " in await mesh.output(agent, "get-resource-links", '{"count": 2}')
    listed = orjson.loads(await mesh.output(agent, "harbour_list_resources"))
    assert listed["resources"]
    read = await mesh.output(
        agent, "harbour_read_resource", orjson.dumps({"uri": listed["resources"][0]["uri"]}).decode()
    )
    assert read
    assert "simple-prompt" in await mesh.output(agent, "harbour_list_prompts")
    assert "weather" in await mesh.output(
        agent, "harbour_get_prompt", '{"name": "args-prompt", "arguments": {"city": "Elba"}}'
    )
    long = "trigger-long-running-operation"
    assert tools["echo"].effect == TOOL_EFFECT_KIND_READ
    overran = await mesh.call(agent, long, '{"duration": 30, "steps": 30}')
    assert "it had come to" in failed(overran)[1], "its progress is told"
    assert failed(await mesh.call(agent, "echo", '{"text": 1}'))[0] == "invalid-input"


@pytest.mark.timeout(360)
@pytest.mark.parametrize(("way", "path"), [("streamableHttp", "mcp"), ("sse", "sse")])
async def test_everything_is_started_again_and_greeted_once_more(
    mesh: Mesh, servers: Path, way: str, path: str
) -> None:
    port = free_ports(1)[0]
    agent = mesh.agents.add(address(f"http://127.0.0.1:{port}/{path}", connect_timeout_seconds=8, effect="write"))
    first = start(everything(servers, way), port)
    try:
        await connected(mesh, agent)
        assert await mesh.output(agent, "echo", '{"message": "one"}') == "Echo: one"
    finally:
        kill(first)
    second = start(everything(servers, way), port)
    try:
        await until(lambda: listening(port), 20)
        # It knows nothing of the session; a write is made once over a new one.
        assert await mesh.output(agent, "echo", '{"message": "two"}') == "Echo: two"
    finally:
        kill(second)


@pytest.mark.timeout(360)
async def test_files_are_read_and_written_by_their_server(mesh: Mesh, servers: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    program = ["node", str(servers / "server-filesystem" / "dist" / "index.js"), str(notes)]
    agent = mesh.agents.add(entry(program, tools={"exclude": ["move_file"]}))
    tools = await offered(mesh, agent)
    assert "move_file" not in tools
    assert tools["read_text_file"].effect == TOOL_EFFECT_KIND_READ
    assert tools["edit_file"].effect == TOOL_EFFECT_KIND_WRITE
    path = str(notes / "today.txt")
    await mesh.output(agent, "write_file", orjson.dumps({"path": path, "content": "ferry at ten"}).decode())
    assert "ferry at ten" in await mesh.output(agent, "read_text_file", orjson.dumps({"path": path}).decode())
    outside = await mesh.call(agent, "read_text_file", '{"path": "/etc/passwd"}')
    assert outside.result.is_error


async def test_the_time_is_told_by_its_server_of_the_python_registry(mesh: Mesh) -> None:
    agent = mesh.agents.add(entry([sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]))
    assert (await offered(mesh, agent))["get_current_time"].effect == TOOL_EFFECT_KIND_READ
    asked = '{"source_timezone": "UTC", "time": "12:00", "target_timezone": "Europe/Zurich"}'
    told = orjson.loads(await mesh.output(agent, "convert_time", asked))
    assert told["target"]["timezone"] == "Europe/Zurich"
    wrong = await mesh.call(agent, "get_current_time", '{"timezone": "Nowhere/None"}')
    assert wrong.result.is_error


def start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    environ = {"PORT": str(port), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(10)


async def listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True
