"""Agents that a test makes for itself on a shared mesh, through the API."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from astromesh_testing.mesh_folders import TOOLS
from astromesh_testing.waiting import until

from .conftest import Talking


async def judged(talking: Talking, name: str) -> bool:
    """Whether the operator has told of the agent: one whose model is down is not Ready, and serves all the same."""
    return (await talking.mesh.client.get(f"/v1/agents/{name}")).json()["ready"] is not None


@asynccontextmanager
async def made_agent(
    talking: Talking, endpoints: Sequence[str], *, seconds: float = 10.0, **spec: object
) -> AsyncGenerator[str]:
    """The name of a ready agent whose candidates are models at these endpoints, each given up after `seconds`."""
    name = f"made-{secrets.token_hex(4)}"
    primary, *rest = [
        {"provider": "openai_compat", "model": f"stub-{number}", "endpoint": endpoint, "timeout_seconds": seconds}
        for number, endpoint in enumerate(endpoints, 1)
    ]
    declared = {"model": {"primary": primary, "fallback": rest}, "tools": [dict(tool) for tool in TOOLS], **spec}
    body = {"apiVersion": "astromesh/v1", "kind": "Agent", "metadata": {"name": name}, "spec": declared}
    created = await talking.mesh.client.post("/v1/agents", json=body)
    assert created.status_code == 201, created.text
    try:
        await until(lambda: judged(talking, name), 30)
        yield name
    finally:
        await talking.mesh.client.delete(f"/v1/agents/{name}")
