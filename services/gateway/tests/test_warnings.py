"""What an answer lacks is told with it on every surface, and a summary's words are told on none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from astromesh.v1.agent_pb2 import RunAgentRequest
from astromesh.v1.agent_pb2_grpc import AgentServiceStub, add_AgentServiceServicer_to_server
from astromesh.v1.run_events_pb2 import ContextAssembled, RunEvent
from astromesh_core.events.runs import FRAME_PATH
from astromesh_core.rpc.identity import Caller, acting_for
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_gateway.service import AgentServicer
from astromesh_testing.scripted_runtime import ScriptedRun
from astromesh_testing.sse import messages

from .conftest import Mesh

SAID = "answered without all that is remembered: redis at redis://cache:6379/0: gone"
ASKED: dict[str, str] = {"query": "what is it?"}


async def forgetful(run: ScriptedRun) -> None:
    """Folds a summary, and answers without what the session remembers."""
    await run.start()
    context = ContextAssembled(memory_unavailable="redis at redis://cache:6379/0: gone")
    await run.append(RunEvent(context_assembled=context))
    await run.begin(FRAME_PATH)
    run.tell(FRAME_PATH, "a summary", 0)
    await run.reply(FRAME_PATH, "a summary", finish_reason="length")
    await run.begin("1")
    await run.reply("1", "it is 2", finish_reason="stop")
    await run.complete("it is 2")


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"http://{mesh.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


async def test_a_reply_says_what_it_lacks(mesh: Mesh) -> None:
    mesh.runtime.script = forgetful
    reply = (await mesh.client.post("/v1/agents/agent/run", json=ASKED)).json()
    assert (reply["answer"], reply["warnings"], reply["finish_reason"]) == ("it is 2", [SAID], "stop")
    assert [step["path"] for step in reply["steps"]] == [FRAME_PATH, "1"]


async def test_a_stream_says_it_at_its_end_and_never_tells_the_summary(mesh: Mesh) -> None:
    mesh.runtime.script = forgetful
    headers = {"Accept": "text/event-stream"}
    async with mesh.client.stream("POST", "/v1/agents/agent/run", json=ASKED, headers=headers) as response:
        told = [message async for message in messages(response)]
    assert "".join(it.data["text"] for it in told if it.name == "token") == "it is 2"
    assert told[-1].data["warnings"] == [SAID]


async def test_grpc_says_it(mesh: Mesh) -> None:
    mesh.runtime.script = forgetful
    server = InProcessServer(Telemetry())
    server.install(lambda it: add_AgentServiceServicer_to_server(AgentServicer(mesh.gateway), it))
    agents = AgentServiceStub(server.channel())
    with acting_for(Caller("anonymous", "default", "admin")):
        run = (await agents.RunAgent(RunAgentRequest(agent="agent", query="what is it?"), timeout=20)).run
    assert list(run.warnings) == [SAID]
    await server.stop(grace=0)


async def test_chat_completions_say_it(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    mesh.runtime.script = forgetful
    whole = await client.chat.completions.create(model="agent", messages=[{"role": "user", "content": "x"}])
    assert (whole.model_extra or {})["warnings"] == [SAID]
    stream = await client.chat.completions.create(
        model="agent", messages=[{"role": "user", "content": "x"}], stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert (chunks[-1].model_extra or {})["warnings"] == [SAID]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "it is 2"
