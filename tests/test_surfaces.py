"""One question on every surface: the same answer, the same steps, the same events, in both placements."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
import openai
import orjson
import pytest
import websockets

from astromesh.v1.agent_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    RunAgentRequest,
    StreamAgentRequest,
    WatchRunRequest,
)
from astromesh.v1.agent_pb2_grpc import AgentServiceStub
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, RunFilter
from astromesh_core.events.chain import verify_chain
from astromesh_testing.mesh import Mesh

from .asking import ask, proven, run_of, settled, start, streamed, text_of, until_status
from .conftest import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION, ANSWER = "add 20 22", "It is 42."
ONE_TOOL = [
    "requested",
    "started",
    "context_assembled",
    "model_call_begun",
    "model_replied",
    "tool_intended",
    "tool_succeeded",
    "model_call_begun",
    "model_replied",
    "memory_stored",
    "completed",
]
PRIVATE = [kind for kind in ONE_TOOL if kind != "memory_stored"]


async def over_json(mesh: Mesh) -> str:
    reply = (await ask(mesh, QUESTION)).json()
    assert reply["answer"] == ANSWER
    return reply["run_id"]


async def over_sse(mesh: Mesh) -> str:
    told = await streamed(mesh, QUESTION)
    assert text_of(told) == told[-1].data["answer"] == ANSWER
    return told[-1].data["run_id"]


async def over_websocket(mesh: Mesh) -> str:
    async with websockets.connect(f"ws://127.0.0.1:{mesh.port}/v1/ws/agent/talker") as socket:
        await socket.send(orjson.dumps({"query": QUESTION}).decode())
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] not in ("done", "error"):
            frames.append(orjson.loads(await socket.recv()))
    assert [frame["type"] for frame in frames if frame["type"] != "token"] == ["tool_call", "tool_result", "done"]
    assert "".join(frame["content"] for frame in frames if frame["type"] == "token") == ANSWER
    assert frames[-1]["answer"] == ANSWER
    return frames[-1]["run_id"]


async def over_grpc(mesh: Mesh) -> str:
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        run = (await AgentServiceStub(channel).RunAgent(RunAgentRequest(agent="talker", query=QUESTION))).run
    assert (run.status, run.answer.text) == (RUN_STATUS_COMPLETED, ANSWER)
    return run.run_id


async def over_grpc_stream(mesh: Mesh) -> str:
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        asked = StreamAgentRequest(run=RunAgentRequest(agent="talker", query=QUESTION))
        parts = [part async for part in AgentServiceStub(channel).StreamAgent(asked)]
    assert "".join(part.token for part in parts) == parts[-1].done.answer.text == ANSWER
    return parts[-1].run_id


async def over_openai(mesh: Mesh) -> str:
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0) as client:
        asked = [{"role": "user", "content": QUESTION}]
        reply = await client.chat.completions.create(model="talker", messages=asked)  # pyright: ignore[reportArgumentType] - a literal in place of the vendor's union
    assert reply.choices[0].message.content == ANSWER
    return reply.id.removeprefix("chatcmpl-")


async def over_openai_stream(mesh: Mesh) -> str:
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="talker", messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    return chunks[0].id.removeprefix("chatcmpl-")


async def over_runs(mesh: Mesh) -> str:
    run_id = await start(mesh, QUESTION)
    assert (await settled(mesh, run_id))["answer"] == ANSWER
    return run_id


Surface = Callable[[Mesh], Coroutine[Any, Any, str]]
SURFACES: dict[str, Surface] = {
    "json": over_json,
    "sse": over_sse,
    "websocket": over_websocket,
    "grpc": over_grpc,
    "grpc-stream": over_grpc_stream,
    "openai": over_openai,
    "openai-stream": over_openai_stream,
    "runs": over_runs,
}


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_question_has_the_same_answer_and_events_on_every_surface(talking: Talking, surface: str) -> None:
    run_id = await SURFACES[surface](talking.mesh)
    run = await run_of(talking.mesh, run_id)
    assert (run["status"], run["answer"], run["agent"]) == ("completed", ANSWER, "talker")
    assert [(step["path"], step["kind"], step["name"], step["status"]) for step in run["steps"]] == [
        ("1", "model", "stub-1", "succeeded"),
        ("2.1", "tool", "add", "succeeded"),
        ("3", "model", "stub-1", "succeeded"),
    ]
    assert run["usage"]["input_tokens"] == 14
    kinds = await proven(talking.mesh, run_id)
    assert kinds in (ONE_TOOL, PRIVATE)


async def test_grpc_watches_lists_and_cancels_what_http_started(talking: Talking) -> None:
    mesh = talking.mesh
    run_id = await over_json(mesh)
    hanging = await start(mesh, "hang")
    await until_status(mesh, hanging, "running")
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        stub = AgentServiceStub(channel)
        watched = [event async for event in stub.WatchRun(WatchRunRequest(run_id=run_id))]
        assert [event.index for event in watched] == list(range(len(watched)))
        assert verify_chain(event.envelope for event in watched).ok
        run = (await stub.GetRun(GetRunRequest(run_id=run_id))).run
        assert (run.answer.text, run.events) == (ANSWER, len(watched))
        listed = await stub.ListRuns(ListRunsRequest(filter=RunFilter(agent="talker"), page_size=1000))
        assert run_id in {run.run_id for run in listed.runs}
        assert (await stub.CancelRun(CancelRunRequest(run_id=hanging))).run.run_id == hanging
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RunAgent(RunAgentRequest(agent="nobody", query="x"))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert not (await until_status(mesh, hanging, "cancelled"))["answer"]
    await proven(mesh, hanging)


async def test_agents_are_models_for_an_openai_client(talking: Talking) -> None:
    async with openai.AsyncOpenAI(base_url=f"{talking.mesh.url}/v1", api_key="none", max_retries=0) as client:
        models = [model.id async for model in client.models.list()]
        assert {"talker", "guarded", "librarian"} <= set(models)
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "x"}])
        reply = await client.chat.completions.create(
            model="talker",
            messages=[
                {"role": "user", "content": "my name is Ann"},
                {"role": "assistant", "content": "hello"},
                {"role": "user", "content": "what did I say"},
            ],
        )
    assert reply.choices[0].message.content == "You said: my name is Ann"


async def test_a_stream_is_told_in_order_and_ends_with_what_the_plain_call_answers(talking: Talking) -> None:
    told = await streamed(talking.mesh, "slowly one two three four", session_id="streaming")
    assert "".join(message.data["text"] for message in told if message.name == "token") == "one two three four"
    assert told[-1].name == "done"
    plain = (await ask(talking.mesh, "say one two three four", session_id="streaming-2")).json()
    assert told[-1].data.keys() >= plain.keys()
    durable = [int(message.id) for message in told if message.id]
    assert durable == list(range(len(durable)))


async def test_an_agent_with_output_rules_streams_nothing_unchecked(talking: Talking) -> None:
    told = await streamed(talking.mesh, "slowly write to ann@example.org today", agent="guarded")
    whole = "".join(str(message) for message in told if message.name != "step" or "query" not in message.data)
    assert told[-1].name == "done"
    assert "ann@example.org" not in told[-1].data["answer"]
    assert "ann@example.org" not in "".join(m.data["text"] for m in told if m.name == "token"), whole
    assert all("ann@example.org" not in str(message.data) for message in told), "an unchecked text was told"


async def test_forbidden_words_are_taken_out_of_an_answer_before_anybody_reads_them(talking: Talking) -> None:
    told = await streamed(talking.mesh, "slowly as PROJECT AURORA is Internal_Only news", agent="guarded")
    assert told[-1].data["answer"] == "as [KEYWORD] is [KEYWORD] news"
    assert "aurora" not in "".join(m.data["text"] for m in told if m.name == "token").lower()
