"""A provider that dies and comes back, through the whole mesh: its circuit opens, is shown, tries again and closes."""

from __future__ import annotations

import asyncio
import secrets
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from astromesh_testing.mesh import COMMAND
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Refusal, Reply
from astromesh_testing.waiting import until

from .asking import Json, ask, events_of, proven
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

COOLDOWN_SECONDS = 3.0


async def printed(talking: Talking, *words: str) -> str:
    """What a command prints, its spaces made one."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *words,
        "--url",
        talking.mesh.url,
        env=talking.mesh.environment,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return "\n".join(" ".join(line.split()) for line in output.decode().splitlines())


@asynccontextmanager
async def declared(talking: Talking, endpoint: str, **spec: object) -> AsyncGenerator[str]:
    """A Provider of the mesh, made over the API."""
    name = f"made-{secrets.token_hex(4)}"
    whole = {"type": "openai_compat", "endpoint": endpoint, "models": ["stub-1"], **spec}
    body = {"apiVersion": "astromesh/v1", "kind": "Provider", "metadata": {"name": name}, "spec": whole}
    created = await talking.mesh.client.put(f"/v1/resources/providers/{name}", json=body)
    assert created.status_code == 201, created.text
    try:
        yield name
    finally:
        await talking.mesh.client.delete(f"/v1/resources/providers/{name}")


async def provider(talking: Talking, name: str) -> Json:
    """The Provider with its conditions by type."""
    reply = (await talking.mesh.client.get(f"/v1/resources/providers/{name}")).json()
    return {**reply, "conditions": {each["type"]: each for each in reply["conditions"]}}


async def until_condition(talking: Talking, name: str, kind: str, status: str, reason: str) -> Json:
    """The condition once it is so."""

    async def found() -> Json:
        condition = (await provider(talking, name))["conditions"].get(kind, {})
        return condition if (condition.get("status"), condition.get("reason")) == (status, reason) else {}

    return await until(found, 20.0, 0.05)


async def steps_of(talking: Talking, run: Json) -> list[tuple[str, str]]:
    """Error class and reason of each candidate on the way to a run's answer."""
    (replied,) = [event for event in await events_of(talking.mesh, run["run_id"]) if event["type"] == "model_replied"]
    return [(step.get("error_class", ""), step.get("reason", "")) for step in replied["event"]["route"]["steps"]]


async def test_a_dead_provider_is_passed_over_until_it_answers_again(talking: Talking) -> None:
    spec: Json = {
        "max_retries": 0,
        "healthCheck": {"interval": "1s"},
        "circuitBreaker": {"failureThreshold": 3, "cooldownSeconds": COOLDOWN_SECONDS},
    }
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(OpenAIChatServer(otherwise=Reply("from the first")))
        second = await stack.enter_async_context(OpenAIChatServer(otherwise=Reply("from the second")))
        name = await stack.enter_async_context(declared(talking, first.endpoint, **spec))
        other = await stack.enter_async_context(declared(talking, second.endpoint, **spec))
        model = {"primary": {"providerRef": name}, "fallback": [{"providerRef": other}]}
        agent = await stack.enter_async_context(made_agent(talking, [first.endpoint], model=model))
        await until_condition(talking, name, "ModelsAvailable", "True", "Offered")
        assert (await ask(talking.mesh, "x", agent=agent)).json()["answer"] == "from the first"

        await first.__aexit__(None, None, None)
        for number in range(4):
            run = (await ask(talking.mesh, "x", agent=agent)).json()
            assert run["answer"] == "from the second"
            error, reason = (await steps_of(talking, run))[0]
            if number < 3:
                assert (error, reason) == ("unavailable", "refused the connection")
            else:
                assert not error, "it was not asked"
                assert reason.startswith("circuit open until ")
                assert reason.endswith(" UTC, after 3 failures: refused the connection")
                assert "circuit open until" in await printed(talking, "runs", "show", run["run_id"])
            await proven(talking.mesh, run["run_id"])

        opened = await until_condition(talking, name, "CircuitClosed", "False", "Open")
        assert "after 3 failures: refused the connection" in opened["message"]
        await until_condition(talking, name, "EndpointReachable", "False", "Unreachable")
        table = (await printed(talking, "get", "providers")).splitlines()
        assert table[0] == "NAME TYPE ENDPOINT MODELS HEALTHY AGE"
        rows = {row.split()[0]: row.split() for row in table if row.startswith("made-")}
        assert rows[name][1:5] == ["openai_compat", first.endpoint, "1", "false"]
        assert rows[other][1:5] == ["openai_compat", second.endpoint, "1", "true"]
        described = await printed(talking, "describe", "provider", name)
        assert "CircuitClosed False" in described
        assert "after 3 failures: refused the" in described
        metrics = (await talking.mesh.client.get("/metrics")).text
        place = f'endpoint="{first.url}",provider="openai_compat"'
        assert f"astromesh_circuit_openings_total{{{place}" in metrics

        port = int(first.url.rpartition(":")[2])
        back = await stack.enter_async_context(OpenAIChatServer(otherwise=Reply("from the first again"), port=port))
        await until_condition(talking, name, "EndpointReachable", "True", "Answers")

        async def returned() -> bool:
            return (await ask(talking.mesh, "x", agent=agent)).json()["answer"] == "from the first again"

        await until(returned, 20.0, 0.2)
        closed = await until_condition(talking, name, "CircuitClosed", "True", "Closed")
        assert closed["message"] == "it was open, after: refused the connection"
        assert (await provider(talking, name))["ready"] is True
        assert len(back.requests) >= 1


async def test_a_wrong_key_closes_no_door_and_a_429_closes_it_as_long_as_it_says(talking: Talking) -> None:
    busy = Refusal(429, "slow down", "rate_limit_exceeded", retry_after="2")
    async with (
        OpenAIChatServer(*[Refusal(401)] * 4, busy, otherwise=Reply("from the first")) as first,
        OpenAIChatServer(otherwise=Reply("from the second")) as second,
        made_agent(talking, [first.endpoint, second.endpoint]) as agent,
    ):
        for _ in range(5):
            assert (await ask(talking.mesh, "x", agent=agent)).json()["answer"] == "from the second"
        assert len(first.requests) == 5, "asked each time"
        paused = (await ask(talking.mesh, "x", agent=agent)).json()
        assert len(first.requests) == 5
        error, reason = (await steps_of(talking, paused))[0]
        assert not error
        assert reason.startswith("rate-limited until ")

        async def returned() -> bool:
            return (await ask(talking.mesh, "x", agent=agent)).json()["answer"] == "from the first"

        await until(returned, 20.0, 0.2)
