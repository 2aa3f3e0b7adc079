"""Each pattern from its YAML: one question on every surface, the same answer, and nothing told of the steps between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import openai
import orjson
import pytest
import websockets

from astromesh.v1.agent_pb2 import RunAgentRequest, StreamAgentRequest
from astromesh.v1.agent_pb2_grpc import AgentServiceStub
from astromesh_testing.mesh import COMMAND, Mesh

from .asking import ask, events_of, proven, run_of, streamed, text_of
from .conftest import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED = {
    "planner": ("add 1 2 and say so", "Together: It is 3. / so"),
    "line": ("say hello", "hello"),
    "choir": ("say la", "Together: la / la"),
    "crew": ('use hand_off {"agent": "other", "reason": "yours"}', "Taken over."),
    "boss": ('use talker {"query": "add 20 22"}', "It is It is 42.."),
}
"""A question for each agent, and the answer."""


async def answers(mesh: Mesh, agent: str, query: str) -> AsyncIterator[tuple[str, str]]:
    """What the agent answers on each surface, streams as their tokens."""
    yield "json", (await ask(mesh, query, agent=agent)).json()["answer"]
    told = await streamed(mesh, query, agent=agent)
    assert told[-1].name == "done", told[-1]
    yield "sse", text_of(told)
    async with websockets.connect(f"ws://127.0.0.1:{mesh.port}/v1/ws/agent/{agent}") as socket:
        await socket.send(orjson.dumps({"query": query}).decode())
        frame = orjson.loads(await socket.recv())
        while frame["type"] not in ("done", "error"):
            frame = orjson.loads(await socket.recv())
        yield "websocket", frame["answer"]
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        asked = StreamAgentRequest(run=RunAgentRequest(agent=agent, query=query))
        parts = [part async for part in AgentServiceStub(channel).StreamAgent(asked)]
        yield "grpc", parts[-1].done.answer.text
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=agent, messages=[{"role": "user", "content": query}], stream=True
        )
        yield "openai", "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    words = ("run", agent, query, "--no-stream", "--json", "--url", mesh.url)
    process = await asyncio.create_subprocess_exec(
        COMMAND, *words, env=mesh.environment, stdout=asyncio.subprocess.PIPE
    )
    yield "command", orjson.loads((await process.communicate())[0])["answer"]


@pytest.mark.parametrize("agent", ASKED)
async def test_a_pattern_answers_alike_on_every_surface(talking: Talking, agent: str) -> None:
    query, expected = ASKED[agent]
    if agent == "line":
        # Its last stage is told what the first one gave, below the question.
        expected = (await ask(talking.mesh, query, agent=agent)).json()["answer"]
    async for surface, answer in answers(talking.mesh, agent, query):
        assert answer == expected, surface


@pytest.mark.parametrize("agent", ASKED)
async def test_a_run_of_a_pattern_is_proven_and_pins_its_options(talking: Talking, agent: str) -> None:
    run_id = (await ask(talking.mesh, ASKED[agent][0], agent=agent)).json()["run_id"]
    assert (await run_of(talking.mesh, run_id))["status"] == "completed"
    await proven(talking.mesh, run_id)
    (started,) = [event for event in await events_of(talking.mesh, run_id) if event["type"] == "started"]
    assert orjson.loads(started["event"]["pattern_options_json"])
    for step in (await run_of(talking.mesh, run_id))["steps"]:
        if "child_run_id" in step:
            await proven(talking.mesh, step["child_run_id"])
