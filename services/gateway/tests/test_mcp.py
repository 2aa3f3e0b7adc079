"""Agents as tools of MCP clients over HTTP: the official SDK's client in each protocol, against a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from astromesh.v1.run_events_pb2 import SURFACE_MCP
from astromesh_testing.scripted_runtime import ScriptedRun

from .conftest import Mesh

WAYS = ("2026-07-28", "legacy", "sse")


@asynccontextmanager
async def client(mesh: Mesh, way: str) -> AsyncIterator[Client]:
    target = sse_client(f"http://{mesh.url}/mcp/sse") if way == "sse" else f"http://{mesh.url}/mcp"
    async with Client(target, mode="auto" if way == "2026-07-28" else "legacy") as connected:
        yield connected


@pytest.mark.parametrize("way", WAYS)
async def test_lists_agents_and_runs_one(mesh: Mesh, way: str) -> None:
    steps: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message or "")

    async with client(mesh, way) as connected:
        (tool,) = (await connected.list_tools()).tools
        result = await connected.call_tool(
            "agent", {"query": "what is 1 + 1?", "session_id": "t"}, progress_callback=note
        )
    assert tool.name == "agent"
    assert tool.input_schema["required"] == ["query"]
    assert not result.is_error, result
    assert [getattr(block, "text", "") for block in result.content] == ["it is 2"]
    print(steps, result.meta)
    (run,) = mesh.runtime.runs.values()
    assert run.requested.surface == SURFACE_MCP
