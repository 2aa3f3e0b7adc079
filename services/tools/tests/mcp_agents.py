"""What the tests of MCP tools have in common: entries of agents' files, and calls of a run."""

from __future__ import annotations

import sys
from pathlib import Path

from astromesh.v1.tools_pb2 import (
    DescribeToolsRequest,
    DescribeToolsResponse,
    ExecuteToolRequest,
    ExecuteToolResponse,
    ToolSource,
)
from astromesh.v1.values_pb2 import ResourceRef, ToolCall, ToolSpec
from astromesh_core.events.contents import text_content
from astromesh_testing.mcp_serving import Answer, Json, LegacyServer
from astromesh_testing.mcp_serving import described as described_tool
from astromesh_testing.models.loopback import Exchange
from astromesh_testing.waiting import until

from .serving import Mesh

SECONDS = 60.0

READS: Json = {"annotations": {"readOnlyHint": True}}


def name_of(call: Json) -> str:
    """The tool that a request calls."""
    params = call["params"]
    return str(params["name"]) if isinstance(params, dict) else ""


async def echo(server: LegacyServer, exchange: Exchange, message: Json) -> None:
    """Answers a call by the name of its tool."""
    await server.say(exchange, message, name_of(message))


def shop(answer: Answer = echo, *tools: Json) -> LegacyServer:
    """A server with a tool that reads and one that writes, and these."""
    return LegacyServer([described_tool("look", **READS), described_tool("buy"), *tools], answer)


def program(journal: Path, **fields: object) -> dict[str, object]:
    """The harbour as a program of its own."""
    arguments = ["-m", "astromesh_testing.mcp_server", str(journal)]
    return {"name": "harbour", "type": "mcp", "command": sys.executable, "args": arguments, **fields}


def address(url: str, **fields: object) -> dict[str, object]:
    """A server at an address of this machine."""
    kind = "mcp_sse" if url.endswith("/sse") else "mcp_http"
    return {"name": "harbour", "type": kind, "url": url, "allow_private": True, **fields}


def lines(journal: Path) -> list[str]:
    """What a server has written down."""
    return journal.read_text().splitlines() if journal.exists() else []


async def described(mesh: Mesh, agent: ResourceRef) -> DescribeToolsResponse:
    return await mesh.stub.DescribeTools(DescribeToolsRequest(agent=agent), timeout=SECONDS)


async def offered(mesh: Mesh, agent: ResourceRef) -> dict[str, ToolSpec]:
    """The catalogue, of an agent whose servers all answer."""
    response = await described(mesh, agent)
    assert all(source.connected for source in response.sources), response.sources
    return {tool.name: tool for tool in response.tools}


async def source(mesh: Mesh, agent: ResourceRef, entry: str = "harbour") -> ToolSource:
    """How the server of an entry is doing."""
    found = (await described(mesh, agent)).sources
    return next(each for each in found if each.entry == entry)


async def connected(mesh: Mesh, agent: ResourceRef, seconds: float = 20.0) -> None:
    """Returns once the agent's server answers."""

    async def well() -> bool:
        return (await source(mesh, agent)).connected

    await until(well, seconds, 0.1)


async def run_calls(
    mesh: Mesh, agent: ResourceRef, spec: ToolSpec, arguments: str = "{}", *, start_before: int = 0
) -> ExecuteToolResponse:
    """A call of a run whose catalogue has the tool so."""
    request = ExecuteToolRequest(
        agent=agent,
        call=ToolCall(id="c1", name=spec.name, arguments=text_content(arguments)),
        run_id="r",
        path="2.1",
        idempotency_key="r:2.1",
        start_before_unix_nano=start_before,
        pinned=spec,
    )
    return await mesh.stub.ExecuteTool(request, timeout=SECONDS)
