"""An answer that the model did not end by itself does not pass for a whole one, wherever it is read."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE

import grpc.aio
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from astromesh.v1.agent_pb2 import RunAgentRequest
from astromesh.v1.agent_pb2_grpc import AgentServiceStub
from astromesh_testing.mesh import COMMAND
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Reply

from .asking import ask, proven, run_of, streamed
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "tell me all"}]


async def printed(talking: Talking, *words: str, stdin: str = "") -> tuple[str, str]:
    """What a command prints on stdout and on stderr."""
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, *words, "--url", talking.mesh.url),
        env=talking.mesh.environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate(stdin.encode())
    assert process.returncode == 0, errors.decode()
    return output.decode(), errors.decode()


@pytest.mark.parametrize("reason", ["length", "content_filter", "stop"])
async def test_the_run_says_why_its_last_reply_ended(talking: Talking, reason: str) -> None:
    calls_first = Reply(calls=(Call("add", '{"a": 20, "b": 22}', "c1"),))
    async with (
        OpenAIChatServer(calls_first, otherwise=Reply("Once upon", finish=reason)) as server,
        made_agent(talking, [server.endpoint]) as agent,
    ):
        reply = (await ask(talking.mesh, "tell me all", agent=agent)).json()
        told = await streamed(talking.mesh, "tell me all", agent=agent)
        stored = await run_of(talking.mesh, reply["run_id"])
        await proven(talking.mesh, reply["run_id"])
    assert (reply["answer"], reply["finish_reason"]) == ("Once upon", reason)
    assert [step.get("finish_reason") for step in reply["steps"]] == ["tool_calls", None, reason]
    assert (told[-1].name, told[-1].data["finish_reason"]) == ("done", reason)
    assert stored["finish_reason"] == reason


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_an_openai_client_gets_the_reason(talking: Talking, reason: str) -> None:
    async with (
        OpenAIChatServer(otherwise=Reply("Once upon", finish=reason)) as server,
        made_agent(talking, [server.endpoint]) as agent,
        openai.AsyncOpenAI(base_url=f"{talking.mesh.url}/v1", api_key="none", max_retries=0) as client,
    ):
        whole = await client.chat.completions.create(model=agent, messages=ASKED)
        chunks = [
            chunk async for chunk in await client.chat.completions.create(model=agent, messages=ASKED, stream=True)
        ]
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Once upon", reason)
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == reason


async def test_a_grpc_client_gets_the_reason(talking: Talking) -> None:
    async with (
        OpenAIChatServer(otherwise=Reply("Once upon", finish="length")) as server,
        made_agent(talking, [server.endpoint]) as agent,
        grpc.aio.insecure_channel(talking.mesh.grpc_address) as channel,
    ):
        run = (await AgentServiceStub(channel).RunAgent(RunAgentRequest(agent=agent, query="x"))).run
    assert (run.finish_reason, [step.finish_reason for step in run.steps]) == ("length", ["length"])


async def test_the_command_line_warns_beside_the_answer(talking: Talking) -> None:
    async with (
        OpenAIChatServer(otherwise=Reply("Once upon", finish="length")) as server,
        made_agent(talking, [server.endpoint]) as agent,
    ):
        answer, said = await printed(talking, "run", agent, "tell me all")
        run_id = next(line.split()[1] for line in said.splitlines() if line.startswith("run "))
        shown, _ = await printed(talking, "runs", "show", run_id)
        _, said_in_chat = await printed(talking, "chat", agent, stdin="tell me all\n")
    assert answer.strip() == "Once upon"
    assert "the model's last reply was cut off at max_tokens" in said
    assert "the model's last reply was cut off at max_tokens" in said_in_chat
    assert "tokens, cut off at max_tokens" in shown
    assert "the model's last reply was cut off at max_tokens" in shown
