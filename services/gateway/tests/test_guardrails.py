"""Guardrails over HTTP: policies as resources, and what an agent's rules say of a text."""

from __future__ import annotations

from typing import Any

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_TOOL_RESULTS

from .conftest import Mesh


def policy(action: str) -> dict[str, Any]:
    rule = {"type": "content_filter", "forbidden_keywords": ["aurora"], "action": action}
    names = {"name": "strict"}
    return {"apiVersion": "astromesh/v1", "kind": "GuardrailPolicy", "metadata": names, "spec": {"rules": [rule]}}


def agent(**guardrails: Any) -> dict[str, Any]:
    spec = {"model": {"primary": {"provider": "ollama", "model": "llama3.2"}}, "guardrails": guardrails}
    return {"apiVersion": "astromesh/v1", "kind": "Agent", "metadata": {"name": "guarded"}, "spec": spec}


async def test_every_rules_verdict_is_shown_without_a_run(mesh: Mesh) -> None:
    asked = {"agent": "agent", "text": "a secret", "stage": "tool_results"}
    told = (await mesh.client.post("/v1/guardrails/check", json=asked)).json()
    assert told["text"] == "a [GONE]"
    assert told["verdicts"] == [
        {
            "place": "guardrails.input[0].rules[0]",
            "rule": "content_filter",
            "action": "warn",
            "dry_run": True,
            "findings": [{"kind": "WORD", "start": 0, "end": 4, "severity": "low"}],
            "policy": "strict",
        }
    ]
    request = mesh.services.guardrails.requests[0]
    assert (request.stage, request.every_rule) == (GUARDRAIL_STAGE_TOOL_RESULTS, True)
    blocked = (await mesh.client.post("/v1/guardrails/check", json={"agent": "agent", "text": "forbidden"})).json()
    assert (blocked["blocked"], blocked["reason"], "text" in blocked) == (True, "content_filter: no", False)
    nobody = await mesh.client.post("/v1/guardrails/check", json={"agent": "nobody", "text": "x"})
    assert nobody.status_code == 404


async def test_an_agent_holds_the_rules_of_the_policy_that_it_names(mesh: Mesh) -> None:
    refused = await mesh.client.post("/v1/agents", json=agent(output=[{"policy": "strict"}]))
    assert refused.status_code == 422
    assert "UnknownGuardrailPolicy" in refused.text
    assert (await mesh.client.put("/v1/resources/guardrailpolicies/strict", json=policy("block"))).status_code == 201
    created = await mesh.client.post("/v1/agents", json=agent(output=[{"policy": "strict"}]))
    assert created.status_code == 201, created.text
    (use,) = created.json()["spec"]["guardrails"]["output"]
    assert [rule["type"] for rule in use["rules"]] == ["content_filter"]
    told = await mesh.client.post("/v1/guardrails/check", json={"agent": "guarded", "text": "x", "stage": "output"})
    assert told.json()["held_back"] == [
        "guardrails.output[0].rules[0]: content_filter blocks the whole answer for what may stand at its end"
    ]
    listed = (await mesh.client.get("/v1/resources/guardrailpolicies")).json()
    assert listed["columns"] == ["NAME", "RULES", "DRY RUN", "READY", "AGE"]
    assert listed["resources"][0]["cells"][:3] == ["strict", "content_filter", "false"]
