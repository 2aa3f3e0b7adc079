"""The service as it is launched: with the router's own credentials on a real bus, and the sample agent's models."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import orjson

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.router_pb2_grpc import RouterServiceStub
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.launcher import compose
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.settings import load_settings
from astromesh_router.app import open_service
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Reply
from astromesh_testing.nats import NatsServer

from .asking import SEARCH, Gathered, called, result, user

TEXT = "Bread rises because of the yeast. The runtime fences a worker that lost its lease, so it can no longer append."


async def put(bus: Bus, kind: str, name: str, spec: AgentSpec | ProviderSpec) -> ResourceRef:
    ref = ResourceRef(kind=kind, namespace="default", name=name)
    record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=spec.to_json())
    return (await bus.resources.put(record)).ref


async def test_answers_for_an_agent_whose_ollama_is_not_there(nats: NatsServer, bus: Bus, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    absent = {"type": "ollama", "endpoint": endpoint, "models": ["llama3.1:8b"]}
    await put(bus, "Provider", "ollama-local", ProviderSpec.model_validate(absent, strict=False))
    await put(bus, "Provider", "extractive", ProviderSpec.model_validate({"type": "extractive"}))
    models = {"primary": {"providerRef": "ollama-local"}, "fallback": [{"providerRef": "extractive"}]}
    agent = await put(bus, "Agent", "docs-agent", AgentSpec.model_validate({"model": models}, strict=False))
    given: dict[str, object] = {
        "data_dir": tmp_path / "router",
        "nats_url": nats.url,
        "nats_credentials": credentials_path(nats.credentials_folder, "router"),
    }
    found = orjson.dumps({"passages": [{"source": "architecture.md", "text": TEXT}]}).decode()
    question = user("What happens to a worker whose lease is gone?")
    async with compose({"router": open_service}, load_settings(given)) as mesh:
        stub = RouterServiceStub(mesh.platform.connections.channel("router"))
        gathered = Gathered()
        request = CompleteRequest(
            agent=agent, messages=[question, called("search_docs", "{}", "c"), result("search_docs", found, "c")]
        )
        request.tools.append(SEARCH)
        async for part in stub.Complete(request):
            gathered.add(part)
    assert gathered.text.startswith("The runtime fences a worker that lost its lease")
    assert "[architecture.md]" in gathered.text
    assert "Bread" not in gathered.text
    assert [step.provider for step in gathered.completion.route.steps] == ["ollama", "extractive"]


async def test_a_router_that_stops_tells_what_was_spent_and_gives_the_rest_back(
    nats: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    given: dict[str, object] = {
        "data_dir": tmp_path / "router",
        "nats_url": nats.url,
        "nats_credentials": credentials_path(nats.credentials_folder, "router"),
    }
    async with OpenAIChatServer(otherwise=Reply("hello")) as server:
        model = {"provider": "openai_compat", "model": "m", "endpoint": server.endpoint, "cost_per_1k_tokens": 1.0}
        spec = {"model": {"primary": model}, "budget": {"per_day": {"usd": 100}}}
        agent = await put(bus, "Agent", "thrifty", AgentSpec.model_validate(spec, strict=False))
        async with compose({"router": open_service}, load_settings(given)) as mesh:
            stub = RouterServiceStub(mesh.platform.connections.channel("router"))
            request = CompleteRequest(agent=agent, messages=[user("x")])
            parts = [part async for part in stub.Complete(request)]
            key = f"{datetime.now(UTC):%Y-%m-%d}.usd.agent.default.thrifty"
            held = (await bus.budgets.get(key)).record
            assert held is not None
            assert (held.spent, len(held.slices)) == (0, 1)
        left = (await bus.budgets.get(key)).record
    assert left is not None
    assert (left.spent, list(left.slices), parts[-1].completion.charge.cost_nanos) == (12_000_000, [], 12_000_000)
