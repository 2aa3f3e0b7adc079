"""A model that is killed in mid-stream: on every surface what the caller holds at the end is the answer, exactly."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import openai
import orjson
import pytest
import websockets

from astromesh.v1.agent_pb2 import RunAgentRequest, StreamAgentRequest
from astromesh.v1.agent_pb2_grpc import AgentServiceStub
from astromesh_testing.mesh import Mesh
from astromesh_testing.models.continuing import continuing
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Ending, Reply
from astromesh_testing.sse import messages

from .asking import STREAM, events_of, proven, run_of, settled
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = "Der Käse 🧀 kommt  aus\nZürich, und er heißt Emmentaler."
BEGINNING = "Der Käse 🧀 kommt"
OTHER = "Ein anderer Käse 🧀, ein anderes Wort."


@dataclass(frozen=True)
class Heard:
    """One thing that a caller hears: `token`, `restart` with its reason, `done` with the answer, or `error`."""

    kind: str
    text: str = ""
    run_id: str = ""


async def over_sse(mesh: Mesh, agent: str) -> AsyncGenerator[Heard, None]:
    path = f"/v1/agents/{agent}/run"
    async with mesh.client.stream("POST", path, json={"query": "x"}, headers=STREAM) as response:
        async for message in messages(response):
            data = message.data
            yield Heard(message.name, data.get("text") or data.get("reason") or data.get("answer", ""), data["run_id"])


async def over_websocket(mesh: Mesh, agent: str) -> AsyncGenerator[Heard, None]:
    async with websockets.connect(f"ws://127.0.0.1:{mesh.port}/v1/ws/agent/{agent}") as socket:
        await socket.send(orjson.dumps({"query": "x"}).decode())
        while True:
            frame = orjson.loads(await socket.recv())
            said = frame.get("content") or frame.get("reason") or frame.get("answer", "")
            yield Heard(frame["type"], said, frame["run_id"])
            if frame["type"] in ("done", "error"):
                return


async def over_grpc(mesh: Mesh, agent: str) -> AsyncGenerator[Heard, None]:
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        asked = StreamAgentRequest(run=RunAgentRequest(agent=agent, query="x"))
        async for part in AgentServiceStub(channel).StreamAgent(asked):
            kind = part.WhichOneof("part") or ""
            yield Heard(kind, part.token or part.restart.reason or part.done.answer.text, part.run_id)


async def over_openai(mesh: Mesh, agent: str) -> AsyncGenerator[Heard, None]:
    run_id = ""
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=agent, messages=[{"role": "user", "content": "x"}], stream=True
        )
        text = ""
        try:
            async for chunk in stream:
                run_id = chunk.id.removeprefix("chatcmpl-")
                delta = chunk.choices[0].delta.content or ""
                text += delta
                if delta:
                    yield Heard("token", delta, run_id)
                if chunk.choices[0].finish_reason:
                    yield Heard("done", text, run_id)
        except openai.APIError as error:
            yield Heard("error", error.message, run_id)


Surface = Callable[[Mesh, str], AsyncGenerator[Heard, None]]
TAKING_BACK: dict[str, Surface] = {"sse": over_sse, "websocket": over_websocket, "grpc": over_grpc}
SURFACES: dict[str, Surface] = {**TAKING_BACK, "openai": over_openai}


@asynccontextmanager
async def two_models(
    talking: Talking, second: OpenAIChatServer, provider: str
) -> AsyncGenerator[tuple[str, AsyncExitStack]]:
    """An agent's name, and what kills its first model when it is closed."""
    async with AsyncExitStack() as life, second:
        first = await life.enter_async_context(OpenAIChatServer(otherwise=Reply(TEXT, ending=Ending.HANG, after=4)))
        endpoint = second.endpoint if provider == "openai_compat" else second.url
        model = {
            "primary": {"provider": "openai_compat", "model": "stub-1", "endpoint": first.endpoint},
            "fallback": [{"provider": provider, "model": "stub-2", "endpoint": endpoint}],
        }
        async with made_agent(talking, [first.endpoint], model=model) as agent:
            yield agent, life


async def heard_through_a_kill(parts: AsyncGenerator[Heard, None], life: AsyncExitStack) -> list[Heard]:
    """All that a caller hears, the first model being killed once its beginning was read."""
    heard: list[Heard] = []
    async with aclosing(parts):
        async for part in parts:
            heard.append(part)
            if "".join(each.text for each in heard if each.kind == "token") == BEGINNING:
                await life.aclose()
    return [each for each in heard if each.kind in ("token", "restart", "done", "error")]


def joined(heard: list[Heard]) -> str:
    return "".join(each.text for each in heard if each.kind == "token")


@pytest.mark.parametrize("surface", SURFACES)
async def test_the_answer_goes_on_as_if_nothing_had_happened(talking: Talking, surface: str) -> None:
    second = OpenAIChatServer(otherwise=continuing(Reply(TEXT)))
    async with two_models(talking, second, "vllm") as (agent, life):
        heard = await heard_through_a_kill(SURFACES[surface](talking.mesh, agent), life)
    assert joined(heard) == TEXT
    assert heard[-1].text == TEXT
    assert {each.kind for each in heard[:-1]} == {"token"}
    await bills_both(talking.mesh, heard[-1].run_id)


@pytest.mark.parametrize("surface", TAKING_BACK)
async def test_a_text_that_nobody_goes_on_with_is_taken_back_once(talking: Talking, surface: str) -> None:
    second = OpenAIChatServer(otherwise=Reply(OTHER))
    async with two_models(talking, second, "openai_compat") as (agent, life):
        heard = await heard_through_a_kill(TAKING_BACK[surface](talking.mesh, agent), life)
    (place,) = [number for number, each in enumerate(heard) if each.kind == "restart"]
    assert heard[place].text == "openai_compat stub-1: broke off in mid-reply"
    assert joined(heard[:place]) == BEGINNING
    assert joined(heard[place:]) == OTHER
    assert (heard[-1].kind, heard[-1].text) == ("done", OTHER)
    await bills_both(talking.mesh, heard[-1].run_id)


async def test_an_openai_client_hears_of_an_error_rather_than_two_texts_as_one(talking: Talking) -> None:
    second = OpenAIChatServer(otherwise=Reply(OTHER))
    async with two_models(talking, second, "openai_compat") as (agent, life):
        heard = await heard_through_a_kill(over_openai(talking.mesh, agent), life)
        run = await settled(talking.mesh, heard[0].run_id)
    assert joined(heard) == BEGINNING
    assert heard[-1].kind == "error"
    assert f"/v1/runs/{run['run_id']}" in heard[-1].text
    assert (run["status"], run["answer"]) == ("completed", OTHER)


async def test_an_openai_client_is_not_left_with_more_than_the_answer(talking: Talking) -> None:
    """Of an answer that is only the beginning of what was sent, there is nothing left to send."""
    second = OpenAIChatServer(otherwise=Reply("Der Käse"))
    async with two_models(talking, second, "openai_compat") as (agent, life):
        heard = await heard_through_a_kill(over_openai(talking.mesh, agent), life)
    assert (joined(heard), heard[-1].kind) == (BEGINNING, "error")


async def bills_both(mesh: Mesh, run_id: str) -> None:
    """What the first model did is billed beside the second's charge, and the route names both."""
    await proven(mesh, run_id)
    events = [
        event for event in await events_of(mesh, run_id) if event["type"] in ("model_call_begun", "model_replied")
    ]
    charges = [charge for event in events for charge in event["event"].get("partial_charges", ())]
    assert [(charge["model"], charge["usage"]["estimated"]) for charge in charges] == [("stub-1", True)]
    assert [step["model"] for step in events[-1]["event"]["route"]["steps"]] == ["stub-1", "stub-2"]
    run = await run_of(mesh, run_id)
    first, second = run["steps"][-1]["route"]["candidates"]
    assert (first["outcome"], first["error"], first["reason"]) == ("failed", "unavailable", "broke off in mid-reply")
    assert (second["model"], second["outcome"]) == ("stub-2", "answered")
    assert run["usage"]["output_tokens"] == int(charges[0]["usage"]["output_tokens"]) + 5
