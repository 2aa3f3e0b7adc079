"""Budgets, from YAML to the problem document that says when they reset, and what was spent."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import JsonValue

from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Reply
from astromesh_testing.waiting import until

from .asking import Json, ask, proven, run_of
from .conftest import OpenMesh, Talking
from .made_agents import made_agent

COST = 0.012
"""Seven tokens asked and five answered, at a dollar a thousand."""
DEAR: Mapping[str, JsonValue] = {"cost_per_1k_tokens": 1.0, "max_tokens": 5}
FREE: Mapping[str, JsonValue] = {"cost_per_1k_tokens": 0, "max_tokens": 5}
COMMAND = Path(sys.executable).with_name("astromesh")


def model(server: OpenAIChatServer, traits: Mapping[str, JsonValue], name: str = "stub-1") -> dict[str, JsonValue]:
    return {"provider": "openai_compat", "model": name, "endpoint": server.endpoint, **traits}


async def costs(talking: Talking, *options: str) -> Json:
    """What the command says was spent."""
    command = await asyncio.create_subprocess_exec(
        COMMAND,
        "costs",
        *options,
        "--json",
        env={**os.environ, "ASTROMESH_URL": talking.mesh.url},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await command.communicate()
    assert command.returncode == 0
    return orjson.loads(out)


def reset_of(problem: Json) -> datetime:
    found = re.search(r"it resets at (\S+)", problem["detail"])
    assert found is not None, problem
    return datetime.fromisoformat(found[1])


async def refused(talking: Talking, agent: str, **more: str) -> Json:
    """The problem document of a call that no budget has enough for."""
    response = await ask(talking.mesh, "x", agent=agent, **more)
    assert response.status_code == 402, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return {**response.json(), "header": response.headers.get("retry-after")}


@pytest.mark.asyncio(loop_scope="session")
class TestOnASharedMesh:
    """Budgets of agents, which nobody else spends."""

    async def test_an_agent_answers_until_its_budget_is_spent_and_says_when_it_resets(self, talking: Talking) -> None:
        budget = {"per_day": {"usd": 0.02}}
        spec: dict[str, Any] = {"model": {"primary": model(talking.model, DEAR)}, "tools": [], "budget": budget}
        async with made_agent(talking, [talking.model.endpoint], **spec) as agent:
            first = (await ask(talking.mesh, "say hello", agent=agent)).json()
            assert first["answer"] == "hello"
            assert (first["usage"]["cost_usd"], first["cost"]) == (COST, COST)
            assert (await run_of(talking.mesh, first["run_id"]))["steps"][0]["usage"]["cost_usd"] == COST
            problem = await refused(talking, agent)
            assert problem["type"].endswith("/budget-exceeded")
            assert f"budget of agent default/{agent} for the day" in problem["detail"]
            assert "$0.012 of $0.02" in problem["detail"]
            now = datetime.now(UTC)
            left = (reset_of(problem) - now).total_seconds()
            assert (0 < left <= 86_400, abs(problem["retry_after"] - left) < 60) == (True, True)
            assert int(problem["header"]) == pytest.approx(left, abs=60)
            assert (await run_of(talking.mesh, problem["run_id"]))["failure"]["error"] == "budget-exceeded"
            await proven(talking.mesh, problem["run_id"])

            by_model = await costs(talking, "--agent", agent, "--by", "agent,model")
            [spent] = by_model["costs"]
            assert (spent["agent"], spent["model"], spent["calls"], spent["cost_usd"]) == (agent, "stub-1", 1, COST)
            assert (spent["input_tokens"], spent["output_tokens"], spent["estimated"]) == (7, 5, False)
            assert by_model["total"]["cost_usd"] == COST

    async def test_a_call_goes_to_the_model_that_there_is_money_for(self, talking: Talking) -> None:
        primary, fallback = model(talking.model, DEAR), model(talking.model, FREE, "stub-2")
        spec: dict[str, Any] = {
            "model": {"primary": primary, "fallback": [fallback]},
            "tools": [],
            "budget": {"per_day": {"usd": 0.02}},
        }
        async with made_agent(talking, [talking.model.endpoint], **spec) as agent:
            await ask(talking.mesh, "say hello", agent=agent)
            reply = (await ask(talking.mesh, "say hello", agent=agent)).json()
            assert reply["answer"] == "hello"
            [step] = (await run_of(talking.mesh, reply["run_id"]))["steps"]
            passed_over, chosen = step["route"]["candidates"]
            assert (passed_over["model"], passed_over["outcome"]) == ("stub-1", "not asked")
            assert passed_over["reason"].startswith(f"the budget of agent default/{agent} for the day")
            assert (chosen["model"], chosen["outcome"], reply["usage"]["cost_usd"]) == ("stub-2", "answered", 0)

    async def test_a_run_stops_where_its_own_budget_ends(self, talking: Talking) -> None:
        spec: dict[str, Any] = {
            "model": {"primary": model(talking.model, FREE)},
            "budget": {"per_run": {"tokens": 200}},
        }
        async with made_agent(talking, [talking.model.endpoint], **spec) as agent:
            problem = await refused(talking, agent)
            assert f"budget of each run of agent default/{agent}" in problem["detail"]
            assert "of 200 tokens" in problem["detail"]
            assert ("retry_after" in problem, problem["header"]) == (False, None)

    async def test_what_a_runs_budget_leaves_bounds_the_runs_that_it_starts(self, talking: Talking) -> None:
        wordy: dict[str, Any] = {"prompts": {"system": "long " * 20_000}, "tools": []}
        endpoints = [talking.model.endpoint]
        async with made_agent(talking, endpoints, **wordy) as child:
            assert (await ask(talking.mesh, "say hello", agent=child)).json()["answer"] == "hello"
            spec: dict[str, Any] = {
                "tools": [{"name": "ask", "type": "agent", "agent": child}],
                "budget": {"per_run": {"tokens": 15_000}},
            }
            async with made_agent(talking, endpoints, **spec) as parent:
                reply = (await ask(talking.mesh, 'use ask {"query": "say hello"}', agent=parent)).json()
                assert reply["status"] == "completed"
                assert f"budget of each run of agent default/{parent} is spent" in reply["answer"]
                [step] = [step for step in reply["steps"] if step["kind"] == "agent"]
                assert step["failure"]["error"] == "budget-exceeded"

    async def test_a_budget_of_money_needs_prices(self, talking: Talking) -> None:
        spec: dict[str, Any] = {"model": {"primary": model(talking.model, {})}, "budget": {"per_day": {"usd": 1}}}
        body = {"apiVersion": "astromesh/v1", "kind": "Agent", "metadata": {"name": "unpriced"}, "spec": spec}
        response = await talking.mesh.client.post("/v1/agents", json=body)
        assert response.status_code == 422
        assert "nobody knows what stub-1 costs" in response.text

    async def test_a_namespace_has_a_budget_for_all_its_agents(self, talking: Talking) -> None:
        talking.folder.agent("talker", [talking.model.endpoint], tools=[], namespace="poor")
        talking.folder.runtime(budgets=[{"namespace": "poor", "per_month": {"tokens": 1}}])

        async def spent() -> Json:
            response = await ask(talking.mesh, "x", agent="talker", namespace="poor")
            return response.json() if response.status_code == 402 else {}

        try:
            problem = await until(spent, 10, 0.1)
            assert "budget of namespace poor for the month" in problem["detail"]
            assert reset_of(problem).day == 1
            assert (await ask(talking.mesh, "say hello", agent="talker")).status_code == 200
        finally:
            (talking.folder.path / "runtime.yaml").unlink()
            (talking.folder.path / "agents" / "poor-talker.agent.yaml").unlink()


async def refusal(client: httpx.AsyncClient, key: str) -> Json:
    """What a key's call is refused with; nothing where it is served."""
    response = await client.post("/v1/agents/talker/run", json={"query": "x"}, headers={"X-API-Key": key})
    assert response.status_code in (200, 402), response.text
    return response.json() if response.status_code == 402 else {}


async def test_a_key_has_a_budget_of_its_own(open_mesh: OpenMesh) -> None:
    talking: Talking = await open_mesh()
    keys = {name: secrets.token_hex(8) for name in ("poor-team", "rich-team")}
    hashed: list[JsonValue] = [
        {"name": name, "hash": f"sha256:{hashlib.sha256(key.encode()).hexdigest()}", "role": "user"}
        for name, key in keys.items()
    ]
    talking.folder.runtime(api_keys=hashed, budgets=[{"api_key": "poor-team", "per_day": {"tokens": 1}}])
    problem = await until(lambda: refusal(talking.mesh.client, keys["poor-team"]), 10, 0.1)
    assert "budget of API key poor-team for the day" in problem["detail"]
    assert await refusal(talking.mesh.client, keys["rich-team"]) == {}


@pytest.mark.timeout(120)
async def test_what_was_spent_before_a_crash_is_found_in_the_log(open_mesh: OpenMesh) -> None:
    talking: Talking = await open_mesh()
    server = talking.model
    server.otherwise = Reply("hello")
    talking.folder.agent(
        "thrifty", [], tools=[], model={"primary": model(server, DEAR)}, budget={"per_day": {"usd": 0.03}}
    )
    await until(lambda: answered(talking), 10, 0.1)
    await talking.mesh.kill()
    await talking.mesh.start()
    await until(lambda: answered(talking), 40, 0.5)

    async def found() -> bool:
        # Until its slice ends, nobody knows how much the router that was killed has spent of it.
        return "$0.024 of $0.03" in (await refused(talking, "thrifty"))["detail"]

    await until(found, 40, 0.5)
    assert (await costs(talking, "--agent", "thrifty"))["total"]["cost_usd"] == 2 * COST


async def answered(talking: Talking) -> bool:
    return (await ask(talking.mesh, "x", agent="thrifty")).status_code == 200
