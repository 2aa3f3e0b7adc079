"""Who may use MCP, and which agents they see: keys, namespaces, roles, and what runtime.yaml says."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.resources.runtime_config import Mcp
from astromesh_testing.admission import put_agent
from astromesh_testing.nats import NatsServer

from .conftest import Mesh, mesh_on

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
JSON_RPC = {"Accept": "application/json, text/event-stream"}


async def configure(bus: Bus, mcp: dict[str, object] | None = None, **roles: str) -> None:
    keys = [
        {
            "name": name,
            "hash": "sha256:" + hashlib.sha256(f"{name}-key".encode()).hexdigest(),
            "role": role,
            "namespace": "other" if name == "otto" else "default",
        }
        for name, role in roles.items()
    ]
    ref = ResourceRef(kind="RuntimeConfig", namespace="default", name="runtime")
    spec = json.dumps({"api_keys": keys, "mcp": mcp or {}})
    await bus.resources.put(ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=spec))


@pytest.fixture
async def guarded(nats: NatsServer, bus: Bus, tmp_path: Path) -> AsyncIterator[Mesh]:
    await configure(bus, uma="user", vic="viewer", otto="user")
    async with mesh_on(nats, bus, tmp_path) as running:
        yield running


@asynccontextmanager
async def client_as(mesh: Mesh, name: str) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {name}-key"}) as http,
        Client(streamable_http_client(f"http://{mesh.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def shows(mesh: Mesh, told: Callable[[Mcp], bool]) -> None:
    directory = mesh.gateway.directory
    async with asyncio.timeout(5), directory.changed:
        await directory.changed.wait_for(lambda: told(directory.mcp("default")))


async def listed(mesh: Mesh, name: str) -> list[str]:
    async with client_as(mesh, name) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/sse", "/mcp/messages"])
async def test_needs_a_key_like_everything_else(guarded: Mesh, path: str) -> None:
    method = "GET" if path == "/mcp/sse" else "POST"
    refused = await guarded.client.request(method, path, headers=JSON_RPC)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["content-type"] == "application/problem+json"


async def test_a_key_sees_and_asks_the_agents_of_its_namespace(guarded: Mesh) -> None:
    assert await listed(guarded, "uma") == ["agent"]
    assert await listed(guarded, "otto") == []
    async with client_as(guarded, "uma") as client:
        assert not (await client.call_tool("agent", {"query": "x"})).is_error
    async with client_as(guarded, "otto") as client:
        with pytest.raises(MCPError, match="Unknown tool: there is no agent 'agent' in namespace 'other'"):
            await client.call_tool("agent", {"query": "x"})


async def test_a_viewer_lists_agents_and_asks_none(guarded: Mesh) -> None:
    async with client_as(guarded, "vic") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["agent"]
        result = await client.call_tool("agent", {"query": "x"})
    assert result.is_error
    assert "needs 'user'" in str(result.content)
    assert not guarded.runtime.runs


async def test_a_stream_of_the_oldest_transport_is_its_owners(guarded: Mesh) -> None:
    headers = {"Authorization": "Bearer uma-key"}
    async with guarded.client.stream("GET", "/mcp/sse", headers=headers) as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "event: endpoint"
        path = (await anext(lines)).removeprefix("data: ")
        stranger = await guarded.client.post(path, json=PING, headers={"Authorization": "Bearer vic-key"})
        owner = await guarded.client.post(path, json=PING, headers=headers)
    assert (stranger.status_code, owner.status_code) == (404, 202)


async def test_runtime_yaml_says_which_agents_are_offered(guarded: Mesh) -> None:
    await put_agent(guarded.bus, "hidden")
    await configure(guarded.bus, {"agents": ["agent"]}, uma="user")
    await shows(guarded, lambda mcp: mcp.agents is not None)
    async with client_as(guarded, "uma") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["agent"]
        with pytest.raises(MCPError, match="'hidden' is not offered"):
            await client.call_tool("hidden", {"query": "x"})


async def test_runtime_yaml_switches_mcp_off(guarded: Mesh) -> None:
    await configure(guarded.bus, {"enabled": False}, uma="user")
    await shows(guarded, lambda mcp: not mcp.enabled)
    refused = await guarded.client.post("/mcp", json=PING, headers={"Authorization": "Bearer uma-key", **JSON_RPC})
    assert refused.status_code == 404
    assert "spec.mcp.enabled" in refused.json()["detail"]
