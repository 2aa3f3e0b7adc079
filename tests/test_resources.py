"""Resources, memory, tools and documents through the API, on a whole mesh."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from astromesh_testing.waiting import until

from .asking import Json, ask, start
from .conftest import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")


def agent(name: str, endpoint: str, **spec: object) -> Json:
    model = {"primary": {"provider": "openai_compat", "model": "stub-1", "endpoint": endpoint}}
    return {
        "apiVersion": "astromesh/v1",
        "kind": "Agent",
        "metadata": {"name": name},
        "spec": {"model": model, **spec},
    }


async def test_an_agent_is_created_used_replaced_and_deleted(talking: Talking) -> None:
    client, name = talking.mesh.client, f"made-{secrets.token_hex(3)}"
    created = await client.post("/v1/agents", json=agent(name, talking.model.endpoint))
    assert (created.status_code, created.json()["managed_by"]) == (201, "api")

    async def ready() -> bool:
        return (await client.get(f"/v1/agents/{name}")).json()["ready"]

    await until(ready)
    assert (await ask(talking.mesh, "say here", agent=name)).json()["answer"] == "here"
    assert (await client.post("/v1/agents", json=agent(name, talking.model.endpoint))).status_code == 409
    changed = agent(name, talking.model.endpoint, prompts={"system": "Be brief."})
    replaced = await client.put(f"/v1/agents/{name}", json=changed, headers={"If-Match": '"1"'})
    assert (replaced.status_code, replaced.json()["generation"]) == (200, 2)
    stale = await client.put(f"/v1/agents/{name}", json=changed, headers={"If-Match": '"1"'})
    assert stale.status_code == 409
    assert (await client.delete(f"/v1/agents/{name}")).status_code == 204
    assert (await ask(talking.mesh, "say here", agent=name)).status_code == 404


async def test_what_was_made_is_there_for_the_next_call_and_what_was_deleted_is_not(talking: Talking) -> None:
    client, name = talking.mesh.client, f"made-{secrets.token_hex(3)}"
    for number in range(5):
        assert (await client.post("/v1/agents", json=agent(name, talking.model.endpoint))).status_code == 201
        assert (await client.get(f"/v1/agents/{name}")).status_code == 200
        assert (await ask(talking.mesh, f"say {number}", agent=name)).json()["answer"] == str(number)
        assert (await client.delete(f"/v1/agents/{name}")).status_code == 204
        assert (await client.get(f"/v1/agents/{name}")).status_code == 404


async def test_what_a_file_declares_is_changed_there(talking: Talking) -> None:
    client = talking.mesh.client
    for response in (
        await client.post("/v1/agents", json=agent("talker", talking.model.endpoint)),
        await client.put("/v1/agents/talker", json=agent("talker", talking.model.endpoint)),
        await client.delete("/v1/agents/talker"),
    ):
        assert response.status_code == 409
        assert "file" in response.json()["detail"]
    assert (await ask(talking.mesh, "say still here")).json()["answer"] == "still here"


async def test_a_resource_that_cannot_be_is_refused_with_each_reason(talking: Talking) -> None:
    bad = agent("bad", talking.model.endpoint, colour="red", orchestration={"max_iterations": 0})
    refused = await talking.mesh.client.post("/v1/agents", json=bad)
    assert refused.status_code == 422
    assert {error["path"] for error in refused.json()["errors"]} == {"spec.colour", "spec.orchestration.max_iterations"}


async def test_a_session_is_remembered_shown_and_forgotten(talking: Talking) -> None:
    client, session = talking.mesh.client, secrets.token_hex(4)
    path = f"/v1/memory/talker/history/{session}"
    for number in (1, 2):
        await ask(talking.mesh, f"say fact {number}", session_id=session)
    recalled = (await ask(talking.mesh, "what did I say", session_id=session)).json()["answer"]
    assert recalled == "You said: say fact 1 / say fact 2"

    async def turns() -> list[tuple[str, str]]:
        history: list[dict[str, Any]] = (await client.get(path)).json()["history"]
        return [(turn["role"], turn["content"]) for turn in history]

    async def whole() -> list[tuple[str, str]]:
        told = await turns()
        return told if len(told) == 6 else []

    assert (await until(whole))[:2] == [("user", "say fact 1"), ("assistant", "fact 1")]
    assert (await client.delete(path)).status_code == 204
    assert await turns() == []
    assert (await ask(talking.mesh, "what did I say", session_id=session)).json()["answer"] == "You said: "


async def test_a_run_without_a_session_is_not_remembered(talking: Talking) -> None:
    first = (await ask(talking.mesh, "say a secret")).json()
    second = (await ask(talking.mesh, "what did I say")).json()
    assert first["session_id"] != second["session_id"]
    assert second["answer"] == "You said: "


async def test_tools_are_listed_and_called_by_hand(talking: Talking) -> None:
    client = talking.mesh.client
    listed = (await client.get("/v1/tools", params={"agent": "talker"})).json()["tools"]
    assert [(tool["name"], tool["effect"]) for tool in listed] == [
        ("add", "read"),
        ("note", "write"),
        ("hold", "write"),
        ("count", "idempotent"),
    ]
    called = {"tool_name": "add", "arguments": {"a": 1, "b": 2}, "agent": "talker"}
    answered = await client.post("/v1/tools/execute", json=called)
    assert (answered.status_code, answered.json()["result"]) == (200, 3)
    wrong = await client.post("/v1/tools/execute", json={**called, "arguments": {"a": "one"}})
    assert wrong.status_code in (400, 422)
    unknown = await client.post("/v1/tools/execute", json={**called, "tool_name": "subtract"})
    assert unknown.status_code == 404


async def test_documents_are_ingested_and_found_with_their_source(talking: Talking) -> None:
    client = talking.mesh.client
    ingested = await client.post("/v1/rag/ingest", json={"pipeline": "docs"}, timeout=60)
    assert ingested.status_code == 200, ingested.text
    assert ingested.json()["added"] + ingested.json()["unchanged"] == 2
    again = (await client.post("/v1/rag/ingest", json={"pipeline": "docs"})).json()
    assert (again["added"], again["unchanged"]) == (0, 2)
    found = (
        await client.post("/v1/rag/query", json={"pipeline": "docs", "query": "When does the ferry leave?"})
    ).json()
    assert found["results"][0]["source"].endswith("boats.md")
    states = (await client.get("/v1/rag/pipelines")).json()["pipelines"]
    assert [(state["name"], state["documents"]) for state in states] == [("docs", 2)]
    answered = (await ask(talking.mesh, "When does the ferry to Elba leave?", agent="librarian")).json()
    assert "every hour" in answered["answer"]
    assert answered["sources"][0]["source"].endswith("boats.md")


async def test_metrics_and_health_are_open(talking: Talking) -> None:
    await start(talking.mesh, "say counted")
    page = (await talking.mesh.client.get("/metrics")).text
    assert 'agent="talker"' in page
    assert (await talking.mesh.client.get("/v1/health")).json()["status"] == "ok"
    ready = (await talking.mesh.client.get("/v1/health/ready")).json()
    assert ready["ready"]
    assert all(check["ok"] for check in ready["checks"].values())
