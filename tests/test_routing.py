"""Which model answers is decided by the agent's strategy, and the run tells why."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE

import pytest

from astromesh_testing.mesh import COMMAND
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Reply, Tokens

from .asking import ask, events_of, proven
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def shown(talking: Talking, run_id: str) -> str:
    """What `runs show` prints."""
    words = (COMMAND, "runs", "show", run_id, "--url", talking.mesh.url)
    process = await asyncio.create_subprocess_exec(
        *words, env=talking.mesh.environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_cheapest_model_answers_and_the_run_tells_why(talking: Talking) -> None:
    async with (
        OpenAIChatServer(otherwise=Reply("dear words")) as dear,
        OpenAIChatServer(otherwise=Reply("cheap words", tokens=Tokens(1_000, 500))) as cheap,
    ):
        model = {
            "primary": {
                "provider": "openai_compat",
                "model": "big",
                "endpoint": dear.endpoint,
                "cost_per_1k_tokens": 0.03,
            },
            "fallback": {
                "provider": "openai_compat",
                "model": "small",
                "endpoint": cheap.endpoint,
                "cost_per_1k_tokens": 0.002,
            },
            "routing": {"strategy": "cost_optimized"},
        }
        async with made_agent(talking, [dear.endpoint], model=model) as agent:
            run = (await ask(talking.mesh, "which one are you?", agent=agent)).json()
            assert run["answer"] == "cheap words"
            assert dear.requests == []
            (replied,) = [
                event for event in await events_of(talking.mesh, run["run_id"]) if event["type"] == "model_replied"
            ]
            route = replied["event"]["route"]
            assert route["strategy"] == "cost_optimized"
            assert [step["model"] for step in route["steps"]] == ["small", "big"]
            text = await shown(talking, run["run_id"])
            lines = [" ".join(line.split()) for line in text[text.index("STRATEGY") :].splitlines()[1:3]]
            await proven(talking.mesh, run["run_id"])
    assert lines[0].startswith(f"1 cost_optimized openai_compat small {cheap.endpoint} answered expected $0.0")
    assert lines[1].startswith(f"openai_compat big {dear.endpoint} not asked expected $0.0")
    assert replied["event"]["charge"]["cost_nanos"] == "3000000"
