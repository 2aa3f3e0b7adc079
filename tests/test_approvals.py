"""What agents ask humans, over HTTP, SSE, gRPC and the command; and what outlives a restart of every process."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import websockets

from astromesh.v1.agent_pb2 import (
    AnswerQuestionRequest,
    DecideApprovalRequest,
    ListApprovalsRequest,
    ResolveStepRequest,
)
from astromesh.v1.agent_pb2_grpc import AgentServiceStub
from astromesh.v1.signal_pb2 import RESOLVED_OUTCOME_SUCCEEDED
from astromesh_testing.mesh import running_mesh
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.talkative import converse

from .asking import Json, ask, proven, run_of, streamed, until_status
from .conftest import Talking, talking_folder
from .made_agents import made_agent
from .test_command import command

NOTE: Json = {"name": "note", "type": "internal", "function": "shop:note", "effect": "write", "timeout_seconds": 5}
ASKS: Json = {"name": "ask_human", "type": "builtin"}


async def decide(talking: Talking, run_id: str, path: str = "2.1", **body: Any) -> Any:
    return await talking.mesh.client.post(f"/v1/approvals/{run_id}/{path}", json=body)


async def pending(talking: Talking, agent: str) -> list[Json]:
    page = await talking.mesh.client.get("/v1/approvals", params={"agent": agent})
    assert page.status_code == 200, page.text
    return page.json()["approvals"]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_call_is_approved_over_http_once_and_for_all(talking: Talking) -> None:
    text = secrets.token_hex(4)
    tool = {**NOTE, "approval": {"when": "text != 'free'"}}
    async with made_agent(talking, [talking.model.endpoint], tools=[tool]) as agent:
        free = await ask(talking.mesh, "note free", agent=agent)
        assert (free.status_code, free.json()["status"]) == (200, "completed")
        reply = await ask(talking.mesh, f"note {text}", agent=agent)
        waiting = reply.json()
        assert (reply.status_code, waiting["status"], waiting["waiting_for"]) == (202, "suspended", "approval")
        run_id, asked = waiting["run_id"], waiting["approvals"][0]
        assert (asked["state"], asked["arguments"]) == ("pending", {"text": text})
        assert [it["run_id"] for it in await pending(talking, agent)] == [run_id]
        assert talking.folder.done("note")[text] == 0
        assert (await decide(talking, run_id, decision="approve", sha256="00" * 32)).status_code == 409
        assert (await decide(talking, run_id, "9.9", decision="approve")).status_code == 404
        assert (await decide(talking, run_id, decision="approve", arguments={"words": 1})).status_code == 400
        assert (await decide(talking, run_id, answer="yes")).status_code == 400
        assert (await decide(talking, run_id)).status_code == 422
        said: Json = {
            "decision": "approve",
            "sha256": asked["sha256"],
            "arguments": {"text": f"{text}!"},
            "comment": "ok",
        }
        approved = await decide(talking, run_id, **said)
        assert approved.status_code == 200, approved.text
        run = await until_status(talking.mesh, run_id, "completed")
        assert run["answer"].startswith("It is (A human changed the arguments")
        assert f"noted {text}!" in run["answer"]
        assert talking.folder.done("note")[f"{text}!"] == 1
        assert run["approvals"][0]["state"] == "approved"
        again = await asyncio.gather(*(decide(talking, run_id, **said) for _ in range(3)))
        assert {it.status_code for it in again} == {200}
        assert (await decide(talking, run_id, decision="deny")).status_code == 409
        assert talking.folder.done("note")[f"{text}!"] == 1
        assert await pending(talking, agent) == []
        assert "approval_decided" in await proven(talking.mesh, run_id)


@pytest.mark.asyncio(loop_scope="session")
async def test_streams_show_the_wait_and_the_command_denies(talking: Talking) -> None:
    text = secrets.token_hex(4)
    async with made_agent(talking, [talking.model.endpoint], tools=[{**NOTE, "approval": "always"}]) as agent:
        told = await streamed(talking.mesh, f"note {text}", agent=agent)
        asked = next(it.data for it in told if it.data.get("event") == "approval_requested")
        assert asked["approval"]["state"] == "pending"
        assert asked["step"]["status"] == "waiting"
        assert (told[-1].name, told[-1].data["waiting_for"]) == ("done", "approval")
        run_id = told[-1].data["run_id"]
        code, listed = await command(talking, "approvals", "list", "--agent", agent)
        assert (code, [it["run_id"] for it in listed["approvals"]]) == (0, [run_id])
        code, _ = await command(talking, "approvals", "deny", run_id, "--comment", "too early")
        assert code == 0
        run = await until_status(talking.mesh, run_id, "completed")
        assert "too early" in run["answer"]
        assert talking.folder.done("note")[text] == 0
        assert (await command(talking, "approvals", "approve", run_id, "2.1"))[0] == 1


@pytest.mark.asyncio(loop_scope="session")
async def test_sockets_and_openai_clients_are_told_that_a_human_is_asked(talking: Talking) -> None:
    async with made_agent(talking, [talking.model.endpoint], tools=[{**NOTE, "approval": "always"}]) as agent:
        address = f"ws://127.0.0.1:{talking.mesh.port}/v1/ws/agent/{agent}"
        async with websockets.connect(address) as socket:
            await socket.send(orjson.dumps({"query": "note on the socket"}).decode())
            frame: Json = {}
            while frame.get("type") not in ("done", "error"):
                frame = orjson.loads(await socket.recv())
        assert (frame["type"], frame["waiting_for"]) == ("done", "approval")
        assert frame["approvals"][0]["decide_at"] == f"/v1/approvals/{frame['run_id']}/2.1"
        body = {"model": agent, "messages": [{"role": "user", "content": "note for a client"}]}
        refused = await talking.mesh.client.post("/v1/chat/completions", json=body)
        assert refused.status_code == 409
        assert "POST /v1/approvals/" in refused.json()["detail"]
        for it in await pending(talking, agent):
            assert (await decide(talking, it["run_id"], decision="deny")).status_code == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_grpc_lists_decides_and_answers(talking: Talking) -> None:
    tools = [{**NOTE, "approval": "always"}, ASKS]
    async with (
        made_agent(talking, [talking.model.endpoint], tools=tools) as agent,
        grpc.aio.insecure_channel(talking.mesh.grpc_address) as channel,
    ):
        stub: Any = AgentServiceStub(channel)
        noting = (await ask(talking.mesh, f"note {secrets.token_hex(4)}", agent=agent)).json()["run_id"]
        asking = (await ask(talking.mesh, 'use ask_human {"question": "which?"}', agent=agent)).json()["run_id"]
        found = (await stub.ListApprovals(ListApprovalsRequest(agent=agent))).approvals
        assert {it.run_id: it.approval.tool for it in found} == {noting: "note", asking: "ask_human"}
        sha256 = next(it.approval.effect_sha256 for it in found if it.run_id == noting)
        approve = DecideApprovalRequest(run_id=noting, path="2.1", approved=True, effect_sha256=sha256)
        assert (await stub.DecideApproval(approve)).run.run_id == noting
        await until_status(talking.mesh, noting, "completed")
        await stub.AnswerQuestion(AnswerQuestionRequest(run_id=asking, path="2.1", answer="the blue one"))
        assert (await until_status(talking.mesh, asking, "completed"))["answer"] == "It is the blue one."
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.DecideApproval(DecideApprovalRequest(run_id=noting, path="2.1"))
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
        holding = (await ask(talking.mesh, f"hold {secrets.token_hex(4)} 1.3")).json()["run_id"]
        settle = ResolveStepRequest(
            run_id=holding, path="2.1", outcome=RESOLVED_OUTCOME_SUCCEEDED, result="seen by hand"
        )
        assert (await stub.ResolveStep(settle)).run.run_id == holding
        assert (await until_status(talking.mesh, holding, "completed"))["answer"] == "It is seen by hand."


@pytest.mark.asyncio(loop_scope="session")
async def test_a_question_takes_one_of_its_choices(talking: Talking) -> None:
    async with made_agent(talking, [talking.model.endpoint], tools=[ASKS]) as agent:
        question = 'use ask_human {"question": "which?", "choices": ["red", "blue"]}'
        waiting = (await ask(talking.mesh, question, agent=agent)).json()
        assert waiting["waiting_for"] == "question"
        assert waiting["approvals"][0]["choices"] == ["red", "blue"]
        assert (await decide(talking, waiting["run_id"], answer="green")).status_code == 400
        assert (await command(talking, "approvals", "answer", waiting["run_id"], "red"))[0] == 0
        assert (await until_status(talking.mesh, waiting["run_id"], "completed"))["answer"] == "It is red."
        await proven(talking.mesh, waiting["run_id"])


@pytest.mark.serial
async def test_a_run_waits_over_a_restart_of_every_process(tmp_path: Path) -> None:
    text = secrets.token_hex(4)
    async with OpenAIChatServer(otherwise=converse) as model:
        folder = talking_folder(tmp_path / "config", model.endpoint)
        folder.agent("careful", [model.endpoint], tools=[{**NOTE, "approval": "always"}])
        folder.agent("hasty", [model.endpoint], tools=[{**NOTE, "approval": "always", "approval_timeout": 3}])
        async with running_mesh(folder.path, tmp_path / "data") as mesh:
            waiting = (await ask(mesh, f"note {text}", agent="careful")).json()
            expiring = (await ask(mesh, f"note {text} soon", agent="hasty")).json()
            assert expiring["approvals"][0]["state"] == "pending"
        async with running_mesh(folder.path, tmp_path / "data") as mesh:
            talking = Talking(mesh, model, folder)
            assert (await run_of(mesh, waiting["run_id"]))["status"] == "suspended"
            assert [it["path"] for it in await pending(talking, "careful")] == ["2.1"]
            assert (await decide(talking, waiting["run_id"], decision="approve")).status_code == 200
            await until_status(mesh, waiting["run_id"], "completed")
            assert folder.done("note")[text] == 1
            await proven(mesh, waiting["run_id"])
            expired = await until_status(mesh, expiring["run_id"], "completed")
            assert expired["approvals"][0]["state"] == "expired"
            assert folder.done("note")[f"{text} soon"] == 0
