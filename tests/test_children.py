"""An agent that asks another one, on every surface: one answer, the child's progress, and a link both ways."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import grpc
import grpc.aio
import openai
import orjson
import pytest
import websockets

from astromesh.v1.agent_pb2 import RunAgentRequest, StreamAgentRequest
from astromesh.v1.agent_pb2_grpc import AgentServiceStub
from astromesh_testing.mesh import COMMAND, Mesh
from astromesh_testing.sse import Message, messages

from .asking import ask, proven, run_of, start, streamed, text_of, until_status
from .conftest import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = 'use ask {"query": "add 20 22"}'
ANSWER = "It is It is 42.."


async def linked(mesh: Mesh, run_id: str) -> str:
    """Checks the run and its one child by what `/v1/runs` says of them; answers the child."""
    run = await run_of(mesh, run_id)
    assert (run["status"], run["answer"]) == ("completed", ANSWER)
    assert [(step["path"], step["kind"], step["name"]) for step in run["steps"]] == [
        ("1", "model", "stub-1"),
        ("2.1", "agent", "ask"),
        ("3", "model", "stub-1"),
    ]
    child = run["steps"][1]["child_run_id"]
    below = await run_of(mesh, child)
    assert (below["agent"], below["query"], below["answer"]) == ("talker", "add 20 22", "It is 42.")
    assert below["parent"] == {"run_id": run_id, "path": "2.1", "root_run_id": run_id, "depth": 1}
    assert "parent" not in run
    await proven(mesh, run_id)
    await proven(mesh, child)
    return child


async def test_the_plain_call_waits_for_the_child(talking: Talking) -> None:
    reply = (await ask(talking.mesh, QUESTION, agent="desk")).json()
    assert reply["status"] == "completed"
    await linked(talking.mesh, reply["run_id"])


async def test_a_stream_tells_what_the_child_does_and_none_of_its_text(talking: Talking) -> None:
    told = await streamed(talking.mesh, QUESTION, agent="desk")
    assert text_of(told) == told[-1].data["answer"] == ANSWER
    own = [message for message in told if "child" not in message.data]
    assert [message.name for message in own if message.name.startswith("tool")] == ["tool_call", "tool_result"]
    child = await linked(talking.mesh, told[-1].data["run_id"])
    assert {message.data["child_run_id"] for message in own if message.name.startswith("tool")} == {child}
    below = [message for message in told if "child" in message.data]
    assert [message.name for message in below if message.name.startswith("tool")] == ["tool_call", "tool_result"]
    assert {str(message.data["child"]["run_id"]) for message in below} == {child}
    assert not any(message.id for message in below), "a child's event is no position to resume from"
    durable = [int(message.id) for message in own if message.id]
    assert durable == list(range(len(durable)))


async def test_a_socket_and_grpc_tell_the_same(talking: Talking) -> None:
    mesh = talking.mesh
    async with websockets.connect(f"ws://127.0.0.1:{mesh.port}/v1/ws/agent/desk") as socket:
        await socket.send(orjson.dumps({"query": QUESTION}).decode())
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] not in ("done", "error"):
            frames.append(orjson.loads(await socket.recv()))
    seen = Counter(f"{'child ' if 'child' in frame else ''}{frame['type']}" for frame in frames)
    assert (seen["tool_call"], seen["child tool_call"], seen["child tool_result"], seen["tool_result"]) == (1, 1, 1, 1)
    assert frames[-1]["answer"] == ANSWER
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        asked = StreamAgentRequest(run=RunAgentRequest(agent="desk", query=QUESTION))
        parts = [part async for part in AgentServiceStub(channel).StreamAgent(asked)]
    assert parts[-1].done.answer.text == ANSWER
    assert [part.tool_call.name for part in parts if part.child_run_id and part.HasField("tool_call")] == ["add"]
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="desk", messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == ANSWER


async def test_cancelling_from_outside_reaches_the_child(talking: Talking) -> None:
    run_id = await start(talking.mesh, 'use ask {"query": "hang"}', agent="desk")
    run = await until_status(talking.mesh, run_id, "suspended")
    assert (run["waiting_for"], run["waiting_path"]) == ("child", "2.1")
    child = run["steps"][1]["child_run_id"]
    await until_status(talking.mesh, child, "running")
    await talking.mesh.client.post(f"/v1/runs/{run_id}/cancel", json={})
    assert (await until_status(talking.mesh, child, "cancelled"))["parent"]["run_id"] == run_id
    await proven(talking.mesh, run_id)


async def test_a_run_is_resumed_from_its_own_events_with_its_child_at_work(talking: Talking) -> None:
    run_id = await start(talking.mesh, 'use ask {"query": "hold x 1"}', agent="desk")
    await until_status(talking.mesh, run_id, "suspended")
    async with talking.mesh.client.stream(
        "GET", f"/v1/runs/{run_id}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "4"}
    ) as response:
        told: list[Message] = [message async for message in messages(response)]
    assert told[-1].name == "done"
    assert next(int(message.id) for message in told if message.id) == 5
    assert any("child" in message.data and message.name == "tool_result" for message in told)


async def test_a_caller_is_told_where_the_child_waits_for_somebody(talking: Talking) -> None:
    begin = time.monotonic()
    response = await ask(talking.mesh, 'use ask {"query": "hold x 9"}', agent="desk")
    assert time.monotonic() - begin < 15
    run = response.json()
    assert (response.status_code, run["status"], run["waiting_for"]) == (202, "suspended", "child")
    child = run["steps"][1]["child_run_id"]
    assert (await run_of(talking.mesh, child))["status"] == "needs-human"
    settle = {"path": "2.1", "outcome": "succeeded", "result": "held"}
    await talking.mesh.client.post(f"/v1/runs/{child}/resolve", json=settle)
    assert (await until_status(talking.mesh, run["run_id"], "completed"))["answer"] == "It is It is held.."
    await proven(talking.mesh, run["run_id"])


async def test_an_agent_is_called_by_hand_as_any_tool(talking: Talking) -> None:
    client = talking.mesh.client
    tools = (await client.get("/v1/tools", params={"agent": "desk"})).json()["tools"]
    assert [(tool["name"], tool["type"], tool["effect"]) for tool in tools] == [("ask", "agent", "idempotent")]
    assert tools[0]["parameters"]["required"] == ["query"]
    body = {"tool_name": "ask", "agent": "desk", "arguments": {"query": "add 1 2"}}
    called = await client.post("/v1/tools/execute", json=body)
    assert (called.status_code, called.json()["result"]) == (200, "It is 3.")
    wrong = await client.post("/v1/tools/execute", json={**body, "arguments": {"question": "x"}})
    assert (wrong.status_code, "no parameter 'question'" in wrong.json()["detail"]) == (400, True)


async def test_an_agent_that_is_not_there_and_one_that_comes_back_to_itself_are_refused(talking: Talking) -> None:
    client = talking.mesh.client

    def asking(name: str, agent: str) -> dict[str, Any]:
        spec = {"model": {"primary": {"provider": "extractive"}}}
        tool = {"name": "ask", "type": "agent", "agent": agent}
        return {
            "apiVersion": "astromesh/v1",
            "kind": "Agent",
            "metadata": {"name": name},
            "spec": {**spec, "tools": [tool]},
        }

    unknown = await client.post("/v1/agents", json=asking("ring-a", "taker"))
    assert unknown.status_code == 422
    assert "did you mean 'talker'?" in unknown.text
    assert (await client.post("/v1/agents", json=asking("ring-a", "talker"))).status_code == 201
    try:
        assert (await client.post("/v1/agents", json=asking("ring-b", "ring-a"))).status_code == 201
        closed = await client.put("/v1/agents/ring-a", json=asking("ring-a", "ring-b"))
        assert closed.status_code == 422
        assert "would run itself: ring-a > ring-b > ring-a" in closed.text
    finally:
        await client.delete("/v1/agents/ring-b")
        await client.delete("/v1/agents/ring-a")


async def test_the_command_shows_the_link_both_ways(talking: Talking) -> None:
    run_id = (await ask(talking.mesh, QUESTION, agent="desk")).json()["run_id"]
    child = await linked(talking.mesh, run_id)
    assert f"talker {child}" in await shown(talking.mesh, run_id)
    assert f"started by run {run_id} at its step 2.1" in await shown(talking.mesh, child)


async def shown(mesh: Mesh, run_id: str) -> str:
    words = ("runs", "show", run_id, "--url", mesh.url)
    environment = {**mesh.environment, "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(COMMAND, *words, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
