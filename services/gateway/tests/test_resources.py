"""Agents as resources over HTTP, and the services behind the other paths."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from astromesh.v1.control_pb2 import (
    CONDITION_STATUS_FALSE,
    MANAGED_BY_FILE,
    Condition,
    ResourceRecord,
    ResourceStatus,
)
from astromesh.v1.memory_pb2 import HistoryEntry
from astromesh.v1.values_pb2 import ROLE_USER, Message, ResourceRef
from astromesh_core.errors import Unavailable
from astromesh_core.events.contents import text_content
from astromesh_testing.admission import put_agent

from .conftest import Mesh

AGENT: dict[str, Any] = {
    "apiVersion": "astromesh/v1",
    "kind": "Agent",
    "metadata": {"name": "greeter", "version": "1.0.0"},
    "spec": {"model": {"primary": {"provider": "ollama", "model": "llama3.2"}}},
}


async def seen(mesh: Mesh, name: str, generation: int) -> None:
    """Returns once the gateway's own watch shows the version."""
    async with asyncio.timeout(5):
        while True:
            listed = (await mesh.client.get("/v1/agents")).json()["agents"]
            if any(agent["name"] == name and agent["generation"] == generation for agent in listed):
                return


async def test_an_agent_is_created_read_replaced_and_deleted(mesh: Mesh) -> None:
    created = await mesh.client.post("/v1/agents", json=AGENT)
    assert (created.status_code, created.headers["location"]) == (201, "/v1/agents/greeter")
    assert created.json()["managed_by"] == "api"
    await seen(mesh, "greeter", 1)
    changed = {**AGENT, "spec": {**AGENT["spec"], "prompts": {"system": "Greet."}}}
    replaced = await mesh.client.put("/v1/agents/greeter", json=changed, headers={"If-Match": "1"})
    assert (replaced.status_code, replaced.json()["generation"]) == (200, 2)
    assert (await mesh.client.put("/v1/agents/greeter", json=AGENT, headers={"If-Match": "1"})).status_code == 409
    await seen(mesh, "greeter", 2)
    assert (await mesh.client.get("/v1/agents/greeter")).json()["version"] == "1.0.0"
    assert (await mesh.client.delete("/v1/agents/greeter")).status_code == 204
    assert (await mesh.client.delete("/v1/agents/greeter")).status_code == 404


async def test_yaml_is_read_too(mesh: Mesh) -> None:
    response = await mesh.client.post(
        "/v1/agents", content=json.dumps(AGENT), headers={"Content-Type": "application/yaml"}
    )
    assert response.status_code == 201, response.text


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({**AGENT, "spec": {"modle": {}}}, "spec.modle"),
        ({**AGENT, "metadata": {"name": "Not A Label"}}, "metadata.name"),
        ({**AGENT, "kind": "Provider"}, "spec"),
        (
            {**AGENT, "spec": {**AGENT["spec"], "knowledge": {"pipeline": "nothing"}}},
            "spec.knowledge.pipeline",
        ),
    ],
)
async def test_a_bad_agent_is_refused_with_path_and_reason(mesh: Mesh, document: object, path: str) -> None:
    response = await mesh.client.post("/v1/agents", json=document)
    assert response.status_code == 422, response.text
    assert any(item["path"].startswith(path) and item["reason"] for item in response.json()["errors"])


async def test_what_another_side_manages_is_refused_naming_it(mesh: Mesh) -> None:
    ref = ResourceRef(kind="Agent", namespace="default", name="greeter")
    record = ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=json.dumps(AGENT["spec"]))
    await mesh.bus.resources.put(record)
    await seen(mesh, "greeter", 1)
    for response in (
        await mesh.client.post("/v1/agents", json=AGENT),
        await mesh.client.put("/v1/agents/greeter", json=AGENT),
        await mesh.client.delete("/v1/agents/greeter"),
    ):
        assert response.status_code == 409
        assert re.match("Agent default/greeter .*managed by file", response.json()["detail"])


@pytest.mark.parametrize(
    ("condition", "reason", "status"),
    [
        ("GuardrailsLoaded", "Invalid", 409),
        ("Ready", "NotSupported", 501),
        ("ProviderReachable", "Timeout", 200),
        ("ProviderReachable", "ServiceDisabled", 409),
    ],
)
async def test_an_agent_that_is_not_ready_is_refused_with_the_reason(
    mesh: Mesh, condition: str, reason: str, status: int
) -> None:
    record = mesh.gateway.directory.record("Agent", "default", "agent")
    failing = [Condition(type="Ready", status=CONDITION_STATUS_FALSE, reason=reason, message=f"{reason}!")]
    if condition != "Ready":
        failing.append(Condition(type=condition, status=CONDITION_STATUS_FALSE, reason=reason, message=f"{reason}!"))
    await mesh.bus.status.put(ResourceStatus(ref=record.ref, observed_generation=record.generation, conditions=failing))
    async with asyncio.timeout(5):
        while not (await mesh.client.get("/v1/agents/agent")).json()["conditions"]:
            pass
    response = await mesh.client.post("/v1/agents/agent/run", json={"query": "x"})
    assert response.status_code == status
    assert status == 200 or f"{reason}!" in response.json()["detail"]


async def test_a_sessions_history_is_read_and_forgotten(mesh: Mesh) -> None:
    message = Message(role=ROLE_USER, content=text_content("hello"))
    mesh.services.memory.entries = [HistoryEntry(run_id="r", time_unix_nano=1, message=message)]
    read = await mesh.client.get("/v1/memory/agent/history/tuesday")
    assert [(turn["role"], turn["content"]) for turn in read.json()["history"]] == [("user", "hello")]
    deleting = asyncio.create_task(mesh.client.delete("/v1/memory/agent/history/tuesday"))
    await asyncio.sleep(0.2)
    assert not deleting.done(), "it waits until memory has forgotten"
    mesh.services.memory.entries = []
    assert (await deleting).status_code == 204
    assert (await mesh.client.get("/v1/memory/nobody/history/x")).status_code == 404


async def test_tools_are_listed_and_called(mesh: Mesh) -> None:
    listed = (await mesh.client.get("/v1/tools")).json()
    assert [(tool["agent"], tool["name"]) for tool in listed["tools"]] == [("agent", "add")]
    called = await mesh.client.post("/v1/tools/execute", json={"tool_name": "add", "arguments": {"a": 1}})
    assert (called.json()["ok"], called.json()["result"]) == (True, 2)
    assert (await mesh.client.post("/v1/tools/execute", json={"tool_name": "no"})).status_code == 404


async def test_an_agent_whose_tools_nobody_can_tell_hides_no_others(mesh: Mesh) -> None:
    mesh.services.tools.away = {"broken": Unavailable("its server is away")}
    await put_agent(mesh.bus, "broken")
    await seen(mesh, "broken", 1)
    listed = (await mesh.client.get("/v1/tools")).json()
    assert listed["untold"] == [{"agent": "broken", "reason": "its server is away"}]
    assert [tool["agent"] for tool in listed["tools"]] == ["agent"]
    assert (await mesh.client.get("/v1/tools", params={"agent": "broken"})).status_code == 503
    called = await mesh.client.post("/v1/tools/execute", json={"tool_name": "add", "arguments": {"a": 1}})
    assert called.json()["ok"] is True


async def test_pipelines_are_listed_filled_and_asked(mesh: Mesh) -> None:
    assert (await mesh.client.get("/v1/rag/pipelines")).json()["pipelines"][0]["documents"] == 3
    found = await mesh.client.post("/v1/rag/query", json={"pipeline": "docs", "query": "x"})
    assert found.json()["results"][0]["text"] == "found"
    filtered = {"pipeline": "docs", "query": "x", "filter": {"year": {"$gte": 2024}}}
    assert (await mesh.client.post("/v1/rag/query", json=filtered)).status_code == 200
    asked = [json.loads(request.filter_json or "{}") for request in mesh.services.rag.asked]
    assert asked == [{}, {"year": {"$gte": 2024}}]
    assert found.json()["results"][0]["metadata"] == {"year": 2026}
    body = {"pipeline": "docs", "documents": [{"source": "a.md", "text": "a"}, {"source": "b.md", "text": "b"}]}
    assert (await mesh.client.post("/v1/rag/ingest", json=body)).json()["added"] == 2
    told = await mesh.client.post("/v1/rag/ingest", json=body, headers={"Accept": "text/event-stream"})
    assert told.text.count("event: progress") == 2
    assert "event: done" in told.text


async def test_runs_are_listed_by_filter(mesh: Mesh) -> None:
    query = {"agent": "agent", "session": "s", "status": "failed", "from": "2026-01-01T00:00:00Z", "page_size": 5}
    listed = await mesh.client.get("/v1/runs", params=query)
    assert (listed.status_code, listed.json()["next_page_token"]) == (200, "next")
    asked = mesh.services.history.requests[-1]
    assert (asked.filter.agent, len(asked.filter.session_key), asked.page_size) == ("agent", 26, 5)
    assert mesh.services.history.callers[-1].principal == "anonymous"
    assert (await mesh.client.get("/v1/runs", params={"session": "s"})).status_code == 400
    assert (await mesh.client.get("/v1/runs", params={"status": "odd"})).status_code == 422
    assert (await mesh.client.get("/v1/runs", params={"stats": "failed"})).status_code == 422


async def test_a_run_is_looked_into_verified_and_replayed(mesh: Mesh) -> None:
    run_id = (await mesh.client.post("/v1/agents/agent/run", json={"query": "x"})).json()["run_id"]
    first = (await mesh.client.get(f"/v1/runs/{run_id}/events", params={"page_size": 5})).json()
    token = first["next_page_token"]
    rest = (await mesh.client.get(f"/v1/runs/{run_id}/events", params={"page_token": token})).json()
    assert [event["index"] for event in first["events"] + rest["events"]] == list(range(9))
    assert [event["type"] for event in first["events"]][:2] == ["requested", "started"]
    assert (await mesh.client.post(f"/v1/runs/{run_id}/verify")).json()["ok"]
    assert (await mesh.client.post(f"/v1/runs/{run_id}/replay")).json()["verdict"] == "identical"
    cancelled = await mesh.client.post(f"/v1/runs/{run_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "completed")
    for path in ("", "/events", "/verify"):
        method = "POST" if path == "/verify" else "GET"
        unknown = await mesh.client.request(method, f"/v1/runs/{run_id[:-1]}2{path}")
        assert unknown.status_code == 404, unknown.text
        assert (await mesh.client.request(method, f"/v1/runs/rubbish{path}")).status_code == 400


async def test_health_metrics_and_documentation_answer(mesh: Mesh) -> None:
    assert (await mesh.client.get("/v1/health")).json()["status"] == "ok"
    ready = await mesh.client.get("/v1/health/ready")
    assert ready.status_code == 503
    assert ready.json()["checks"]["workers"]["reason"] == "no runtime worker tells its load"
    await mesh.client.post("/v1/agents/agent/run", json={"query": "x"})
    metrics = (await mesh.client.get("/metrics")).text
    assert 'astromesh_http_requests_total{method="POST",route="/v1/agents/{name}/run",status="200"} 1.0' in metrics
    text = (await mesh.client.get("/openapi.json")).text
    document = json.loads(text)
    assert "/v1/chat/completions" in document["paths"]
    referred = set(re.findall(r"#/components/schemas/([^\"]+)", text))
    assert referred <= document["components"]["schemas"].keys(), "every reference leads somewhere"
    nothing = await mesh.client.get("/v1/nothing")
    assert (nothing.status_code, nothing.headers["content-type"]) == (404, "application/problem+json")
    wrong = await mesh.client.patch("/v1/agents/agent")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, GET, PUT")


@pytest.mark.parametrize("path", ["/v1/health", "/v1/health/ready", "/metrics"])
async def test_a_probe_may_leave_the_body_out(mesh: Mesh, path: str) -> None:
    whole, head = await mesh.client.get(path), await mesh.client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    wrong = await mesh.client.post("/v1/health")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


async def test_an_answer_without_content_names_no_type_of_it(mesh: Mesh) -> None:
    await mesh.client.post("/v1/agents", json=AGENT)
    await seen(mesh, "greeter", 1)
    provider = {"apiVersion": "astromesh/v1", "kind": "Provider", "metadata": {"name": "mine"}, "spec": {}}
    await mesh.client.put("/v1/resources/Provider/mine", json={**provider, "spec": {"type": "ollama"}})
    mesh.services.memory.entries = []
    for path in ("/v1/agents/greeter", "/v1/resources/Provider/mine", "/v1/memory/agent/history/tuesday"):
        gone = await mesh.client.delete(path)
        assert (gone.status_code, gone.content) == (204, b""), path
        assert "content-type" not in gone.headers, path


async def test_every_kind_is_listed_with_its_table(mesh: Mesh) -> None:
    table = (await mesh.client.get("/v1/resources/agents")).json()
    assert (table["kind"], table["columns"][0]) == ("Agent", "NAME")
    assert [resource["cells"][0] for resource in table["resources"]] == ["agent"]
    assert (await mesh.client.get("/v1/resources/providers")).json()["resources"] == []
    one = (await mesh.client.get("/v1/resources/ag/agent")).json()
    assert (one["kind"], one["name"], len(one["cells"])) == ("Agent", "agent", len(table["columns"]))
    unknown = await mesh.client.get("/v1/resources/agnets")
    assert unknown.status_code == 404
    assert "did you mean 'agents'?" in unknown.json()["detail"]


async def test_any_kind_is_created_replaced_and_deleted(mesh: Mesh) -> None:
    provider = {"apiVersion": "astromesh/v1", "kind": "Provider", "metadata": {"name": "mine"}, "spec": {}}
    path = "/v1/resources/Provider/mine"
    body = {**provider, "spec": {"type": "ollama"}}
    created = await mesh.client.put(path, json=body)
    assert (created.status_code, created.json()["generation"]) == (201, 1), created.text
    async with asyncio.timeout(5):
        while (await mesh.client.get(path)).status_code == 404:
            pass
    replaced = await mesh.client.put(path, json={**provider, "spec": {"type": "ollama", "timeout_seconds": 5}})
    assert (replaced.status_code, replaced.json()["generation"]) == (200, 2)
    assert (await mesh.client.put("/v1/resources/Provider/other", json=body)).status_code == 400
    assert (await mesh.client.put("/v1/resources/Agent/mine", json=body)).status_code == 422
    assert (await mesh.client.delete(path)).status_code == 204
    assert (await mesh.client.delete(path)).status_code == 404


async def test_an_agent_that_names_a_provider_alone_shows_the_model_that_it_leads_to(mesh: Mesh) -> None:
    provider = {"apiVersion": "astromesh/v1", "kind": "Provider", "metadata": {"name": "mine"}}
    spec = {"type": "ollama", "models": [{"name": "llama3.2"}]}
    assert (await mesh.client.put("/v1/resources/Provider/mine", json={**provider, "spec": spec})).is_success
    await mesh.client.post("/v1/agents", json={**AGENT, "spec": {"model": {"primary": {"providerRef": "mine"}}}})
    await seen(mesh, "greeter", 1)
    table = (await mesh.client.get("/v1/resources/agents")).json()
    (row,) = [resource["cells"] for resource in table["resources"] if resource["name"] == "greeter"]
    assert dict(zip(table["columns"], row, strict=True))["MODEL"] == "llama3.2"


async def test_a_namespace_has_one_runtime_config(mesh: Mesh) -> None:
    config: dict[str, Any] = {"apiVersion": "astromesh/v1", "kind": "RuntimeConfig", "spec": {}}
    already = (await mesh.client.get("/v1/resources/runtimeconfigs")).json()["resources"]
    if not already:
        path = "/v1/resources/RuntimeConfig/first"
        assert (await mesh.client.put(path, json={**config, "metadata": {"name": "first"}})).status_code == 201
    path = "/v1/resources/RuntimeConfig/second"
    refused = await mesh.client.put(path, json={**config, "metadata": {"name": "second"}})
    assert refused.status_code == 422, refused.text
    assert "a namespace has one" in refused.text


async def test_what_a_file_manages_is_refused_naming_the_owner(mesh: Mesh) -> None:
    record = ResourceRecord(
        ref=ResourceRef(kind="Provider", namespace="default", name="theirs"),
        managed_by=MANAGED_BY_FILE,
        spec_json='{"type":"ollama"}',
    )
    await mesh.bus.resources.put(record)
    body = {
        "apiVersion": "astromesh/v1",
        "kind": "Provider",
        "metadata": {"name": "theirs"},
        "spec": {"type": "ollama"},
    }
    refused = await mesh.client.put("/v1/resources/providers/theirs", json=body)
    assert refused.status_code == 409
    assert "file" in refused.json()["detail"]
