"""`astromesh mcp`: the official SDK's client over the standard streams of the command, as desktop clients start it."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import TextContent

from astromesh_cli.client.mesh import Target
from astromesh_cli.mcp.relay import relay
from astromesh_testing.marked import MarkedProcesses
from astromesh_testing.mesh import COMMAND, free_ports
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.waiting import until

from .conftest import Terminal

SCRIPT = Path(__file__).parents[2] / "scripts" / "reference_servers.py"
QUESTION = "When does the ferry to Elba leave?"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ASTROMESH_")}


@asynccontextmanager
async def desktop(
    *options: object, mode: str = "auto", environment: Mapping[str, str] | None = None
) -> AsyncGenerator[Client]:
    environ = {**ENVIRONMENT, **(environment or {})}
    server = StdioServerParameters(command=str(COMMAND), args=["mcp", *map(str, options)], env=environ)
    async with Client(server, mode=mode) as client:
        yield client


async def answer_of(client: Client, steps: list[str] | None = None) -> str:
    async def note(progress: float, total: float | None, message: str | None) -> None:
        del progress, total
        assert steps is not None
        steps.append(message or "")

    result = await client.call_tool(
        "librarian", {"query": QUESTION}, progress_callback=note if steps is not None else None
    )
    assert not result.is_error, result
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


@pytest.fixture(scope="session")
def inspector() -> Path:
    """The command of the official inspector, which npm installs."""
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=310, check=False)
    if done.returncode:
        pytest.skip(done.stdout.strip() or done.stderr.strip()[-300:])
    return Path(done.stdout.strip()) / "node_modules/@modelcontextprotocol/inspector-cli/build/index.js"


async def inspected(inspector: Path, *arguments: str) -> dict[str, Any]:
    """What the inspector prints."""
    command = ["node", str(inspector), *arguments]
    process = await asyncio.create_subprocess_exec(*command, env=ENVIRONMENT, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return orjson.loads(out)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_desktop_client_lists_and_runs_the_agents_of_a_running_mesh(terminal: Terminal, mode: str) -> None:
    steps: list[str] = []
    async with desktop("--url", terminal.url, mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        answer = await answer_of(client, steps)
    assert "librarian" in names
    assert "Piombino every hour" in answer
    assert "librarian calls search" in steps


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_calling_off_a_call_cancels_its_run(terminal: Terminal, mode: str) -> None:
    assert terminal.mesh is not None
    begun = asyncio.Event()
    run_ids: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        del progress, total
        if message and message.startswith("run "):
            run_ids.append(message.split()[1])
        if message == "silent asks a model":
            begun.set()

    async with desktop("--url", terminal.url, mode=mode) as client:
        calling = asyncio.create_task(client.call_tool("silent", {"query": "x"}, progress_callback=note))
        await begun.wait()
        calling.cancel()

        async def cancelled() -> bool:
            return terminal("runs", "show", run_ids[0], "--json").document()["status"] == "cancelled"

        await until(cancelled, pause=0.1)


async def test_a_folder_that_a_mesh_serves_already_is_asked_there(terminal: Terminal) -> None:
    assert terminal.mesh is not None
    before = len(terminal.mesh.marked.running())
    async with desktop("--config", terminal.mesh.config, "--data", terminal.mesh.data) as client:
        assert "Piombino" in await answer_of(client)
        assert len(terminal.mesh.marked.running()) == before


@pytest.mark.serial
async def test_a_folder_that_nobody_serves_gets_a_mesh_that_ends_with_the_client(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path / "config")
    folder.agent("librarian", [], tools=[])
    marked = MarkedProcesses(secrets.token_hex(8))
    async with desktop("--config", folder.path, environment=marked.environment) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["librarian"]
        address = (tmp_path / ".astromesh" / "address").read_text(encoding="utf-8")
        assert address.startswith("http://127.0.0.1:")
        assert any("nats-server" in line for line in marked.running().values())
    await marked.gone(20)
    assert not (tmp_path / ".astromesh" / "address").exists()


async def test_passes_on_again_once_the_mesh_is_back() -> None:
    (port,) = free_ports(1)
    said: asyncio.Queue[bytes] = asyncio.Queue()
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def lines() -> AsyncGenerator[bytes]:
        while line := await asked.get():
            yield line

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"jsonrpc":"2.0","id":2,"result":{}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()
        writer.close()

    relaying = asyncio.create_task(relay(Target(f"http://127.0.0.1:{port}"), lines(), said.put_nowait))
    asked.put_nowait(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    refused = orjson.loads(await said.get())
    async with await asyncio.start_server(gateway, "127.0.0.1", port):
        asked.put_nowait(b'{"jsonrpc":"2.0","id":2,"method":"ping"}')
        answered = orjson.loads(await said.get())
    asked.put_nowait(b"")
    await relaying
    assert refused["id"] == 1
    assert refused["error"]["message"].startswith(f"nothing answers at http://127.0.0.1:{port}")
    assert answered == {"jsonrpc": "2.0", "id": 2, "result": {}}


def test_says_where_nothing_is_and_what_refuses(nowhere: Terminal, terminal: Terminal) -> None:
    told = nowhere("mcp", code=69)
    assert "astromesh up" in told.err
    assert "astromesh mcp --config" in told.err
    assert told.out == ""
    assert "leave one of them out" in nowhere("mcp", "--url", "x", "--config", "y", code=2).err
    assert "no config folder" in nowhere("mcp", "--config", "/nonexistent", code=2).err
    reply = terminal("mcp", stdin='nonsense\n{"jsonrpc":"2.0","id":1,"method":"ping"}\n').out.splitlines()
    assert [orjson.loads(line).get("error", {}).get("code") for line in reply] == [-32700, None]


@pytest.mark.timeout(360)
@pytest.mark.parametrize("way", ["http", "sse", "stdio"])
async def test_the_official_inspector_lists_and_runs_the_agents(terminal: Terminal, inspector: Path, way: str) -> None:
    target = {
        "http": [f"{terminal.url}/mcp"],
        "sse": [f"{terminal.url}/mcp/sse"],
        "stdio": [str(COMMAND), "mcp", "--url", terminal.url],
    }[way]
    listed = await inspected(inspector, *target, "--method", "tools/list")
    asked = ("--tool-name", "librarian", "--tool-arg", f"query={QUESTION}")
    answered = await inspected(inspector, *target, "--method", "tools/call", *asked)
    assert "librarian" in [tool["name"] for tool in listed["tools"]]
    assert "Piombino every hour" in answered["content"][0]["text"]
