"""Sessions and persons on a whole mesh, over HTTP and gRPC: listed, exported, forgotten; and a history that follows its
agent from backend to backend by one line."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from pydantic import JsonValue

from astromesh.v1.agent_pb2 import RunAgentRequest
from astromesh.v1.agent_pb2_grpc import AgentServiceStub
from astromesh.v1.sessions_pb2 import (
    ClearSessionRequest,
    ExportSessionRequest,
    ExportUserRequest,
    ForgetUserRequest,
    GetSessionHistoryRequest,
    ListAgentSessionsRequest,
)
from astromesh.v1.sessions_pb2_grpc import SessionServiceStub
from astromesh_testing.mesh import Mesh, running_mesh
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.redis import RedisServer
from astromesh_testing.talkative import converse
from astromesh_testing.waiting import until

from .asking import ask, events_of, proven
from .conftest import Talking

shared = pytest.mark.asyncio(loop_scope="session")

Json = dict[str, Any]


async def get(mesh: Mesh, path: str, **query: str | int) -> Json:
    response = await mesh.client.get(f"/v1/memory/{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def said(mesh: Mesh, session: str, agent: str = "talker") -> list[str]:
    """What the session's user said."""
    history = (await get(mesh, f"{agent}/history/{session}"))["history"]
    return [turn["content"] for turn in history if turn["role"] == "user"]


@shared
async def test_sessions_are_listed_page_by_page_and_exported(talking: Talking) -> None:
    mesh, names = talking.mesh, [f"s-{secrets.token_hex(4)}" for _ in range(3)]
    for name in names:
        await ask(mesh, "say hello", agent="other", session_id=name)

    async def listed() -> list[Json]:
        found, token = list[Json](), ""
        while True:
            page = await get(mesh, "other/sessions", limit=2, page_token=token)
            found += page["sessions"]
            token = page["next_page_token"]
            if not token:
                return found if {it["session_id"] for it in found} >= set(names) else []

    mine = [it for it in await until(listed) if it["session_id"] in names]
    assert [it["session_id"] for it in mine] == names[::-1]
    assert {it["turns"] for it in mine} == {1}
    export = await get(mesh, f"other/sessions/{names[0]}/export")
    assert (export["session_id"], export["turns"]) == (names[0], 1)
    assert [(it["role"], it["content"]) for it in export["history"]] == [("user", "say hello"), ("assistant", "hello")]
    refused = await mesh.client.get("/v1/memory/other/sessions", params={"page_token": "rubbish"})
    assert refused.status_code == 400
    assert (await mesh.client.get("/v1/memory/nobody/sessions")).status_code == 404


@shared
async def test_calls_are_remembered_with_their_results(talking: Talking) -> None:
    mesh, session = talking.mesh, secrets.token_hex(4)
    await ask(mesh, "add 20 22", session_id=session)

    async def whole() -> list[Json]:
        return (await get(mesh, f"talker/history/{session}"))["history"]

    question, call, result, answer = await until(whole)
    assert [it["role"] for it in (question, call, result, answer)] == ["user", "assistant", "tool", "assistant"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert (call["tool_calls"][0]["name"], result["name"], result["content"]) == ("add", "add", "42")


@shared
async def test_a_person_is_exported_and_forgotten_everywhere_and_others_are_not(talking: Talking) -> None:
    mesh, session = talking.mesh, secrets.token_hex(4)
    ada, bob = f"ada-{session}", f"bob-{session}"
    await ask(mesh, "say one", session_id=session, user=ada)
    await ask(mesh, "say two", session_id=session, user=bob)
    await ask(mesh, "say three", session_id=session, user=ada, agent="other")
    await ask(mesh, "say four", user=ada)

    async def exported() -> list[Json]:
        sessions = (await get(mesh, f"users/{ada}/export"))["sessions"]
        return sessions if len(sessions) == 3 else []

    sessions = await until(exported)
    assert sorted(turn["content"] for it in sessions for turn in it["history"] if turn["role"] == "user") == [
        "say four",
        "say one",
        "say three",
    ]
    forgotten = await mesh.client.delete(f"/v1/memory/users/{ada}")
    assert (forgotten.status_code, forgotten.json()) == (200, {"user": ada, "sessions": 3})
    assert (await get(mesh, f"users/{ada}/export"))["sessions"] == []
    assert await said(mesh, session) == ["say two"]
    assert await said(mesh, session, "other") == []
    assert len((await get(mesh, f"users/{bob}/export"))["sessions"]) == 1
    assert (await mesh.client.delete(f"/v1/memory/users/{ada}")).json()["sessions"] == 0


@shared
async def test_a_person_is_forgotten_in_a_session_whose_first_run_is_at_work(talking: Talking) -> None:
    mesh, session = talking.mesh, secrets.token_hex(4)
    ada = f"ada-{session}"
    asking = asyncio.create_task(ask(mesh, "slowly " + "word " * 30, session_id=session, user=ada))

    async def at_work() -> bool:
        runs = (await mesh.client.get("/v1/runs", params={"agent": "talker", "status": "running"})).json()["runs"]
        return any(run["session_id"] == session for run in runs)

    await until(at_work)
    forgotten = await mesh.client.delete(f"/v1/memory/users/{ada}")
    assert (forgotten.status_code, forgotten.json()) == (200, {"user": ada, "sessions": 1})
    assert (await asking).json()["status"] == "completed"
    assert await said(mesh, session) == []
    assert (await get(mesh, f"users/{ada}/export"))["sessions"] == []


@shared
async def test_grpc_does_with_sessions_what_http_does(talking: Talking) -> None:
    mesh, session = talking.mesh, secrets.token_hex(4)
    user = f"eve-{session}"
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        agents, sessions = AgentServiceStub(channel), SessionServiceStub(channel)
        asked = RunAgentRequest(agent="talker", query="say hi", session_id=session, user=user)
        await agents.RunAgent(asked)

        async def listed() -> list[str]:
            page = await sessions.ListAgentSessions(ListAgentSessionsRequest(agent="talker", page_size=200))
            return [it.session_id for it in page.sessions if it.session_id == session]

        assert await until(listed) == [session]
        history = await sessions.GetSessionHistory(GetSessionHistoryRequest(agent="talker", session_id=session))
        assert [it.message.content.text for it in history.history] == ["say hi", "hi"]
        export = (await sessions.ExportSession(ExportSessionRequest(agent="talker", session_id=session))).session
        assert export.session.turns == 1
        told = [it.session async for it in sessions.ExportUser(ExportUserRequest(user=user))]
        assert [len(it.history) for it in told] == [2]
        assert (await sessions.ForgetUser(ForgetUserRequest(user=user))).sessions == 1
        await agents.RunAgent(asked)
        await sessions.ClearSession(ClearSessionRequest(agent="talker", session_id=session))
        history = await sessions.GetSessionHistory(GetSessionHistoryRequest(agent="talker", session_id=session))
        assert list(history.history) == []


@shared
async def test_anonymous_callers_never_share_a_session(talking: Talking) -> None:
    mesh = talking.mesh
    first, second = [(await ask(mesh, f"say {word}")).json() for word in ("apples", "pears")]
    assert first["session_id"] != second["session_id"]
    assert (await ask(mesh, "what did I say")).json()["answer"] == "You said: "
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        agents = AgentServiceStub(channel)
        runs = [(await agents.RunAgent(RunAgentRequest(agent="talker", query="what did I say"))).run for _ in "ab"]
    assert [run.answer.text for run in runs] == ["You said: ", "You said: "]
    assert runs[0].session_id.text != runs[1].session_id.text


@shared
async def test_two_runs_never_interleave_a_history(talking: Talking) -> None:
    mesh, session = talking.mesh, secrets.token_hex(4)
    words = [f"word{number}" for number in range(8)]
    await asyncio.gather(*(ask(mesh, f"say {word}", session_id=session) for word in words))

    async def whole() -> list[Json]:
        history = (await get(mesh, f"talker/history/{session}"))["history"]
        return history if len(history) == 16 else []

    history = await until(whole)
    pairs = [(history[at]["content"], history[at + 1]["content"]) for at in range(0, 16, 2)]
    assert sorted(pairs) == sorted((f"say {word}", word) for word in words)
    assert all(history[at]["run_id"] == history[at + 1]["run_id"] for at in range(0, 16, 2))


@dataclass
class Movable:
    """A mesh of its own, whose agent's memory a test declares anew."""

    mesh: Mesh
    folder: ConfigFolder
    model: OpenAIChatServer

    async def declare(self, **memory: JsonValue) -> None:
        """Writes the agent's file with this conversational memory; returns when it is served."""
        before = (await self.mesh.client.get("/v1/agents/talker")).json()["generation"]
        self.folder.agent("talker", [self.model.endpoint], memory={"conversational": memory})

        async def served() -> bool:
            return (await self.mesh.client.get("/v1/agents/talker")).json()["generation"] > before

        await until(served, 20)

    async def condition(self) -> tuple[str, str, str]:
        """Of the agent's memory: status, reason, message."""
        conditions = (await self.mesh.client.get("/v1/agents/talker")).json()["conditions"]
        found = next(it for it in conditions if it["type"] == "MemoryConnected")
        return found["status"], found["reason"], found["message"]


@pytest.fixture
async def movable(
    tmp_path: Path, own_redis: RedisServer, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Movable]:
    monkeypatch.setenv("MEMORY_REDIS", own_redis.url)
    monkeypatch.setenv("MEMORY_POSTGRES", postgres)
    async with OpenAIChatServer(otherwise=converse) as model:
        folder = ConfigFolder(tmp_path / "config")
        folder.agent("talker", [model.endpoint], memory={"conversational": {}})
        async with running_mesh(folder.path, tmp_path / "data") as mesh:
            yield Movable(mesh, folder, model)


REDIS: Json = {"backend": "redis", "connection": {"url": "${MEMORY_REDIS}"}}
POSTGRES: Json = {"backend": "postgres", "connection": {"url": "${MEMORY_POSTGRES}"}}


async def recalled(mesh: Mesh) -> str:
    reply = (await ask(mesh, "what did I say", session_id="s")).json()
    return str(reply.get("answer", reply))


@pytest.mark.serial
@pytest.mark.timeout(180)
async def test_one_line_moves_a_history_and_a_backend_that_is_away_is_said(
    movable: Movable, own_redis: RedisServer
) -> None:
    mesh = movable.mesh
    await ask(mesh, "say one", session_id="s")
    await movable.declare(**REDIS)
    await ask(mesh, "say two", session_id="s")
    assert await recalled(mesh) == "You said: say one / say two"
    await movable.declare(**POSTGRES)
    assert await recalled(mesh) == "You said: say one / say two / what did I say"
    assert (await mesh.client.delete("/v1/memory/talker/history/s")).status_code == 204
    await movable.declare(**REDIS, on_unavailable="continue")
    assert await recalled(mesh) == "You said: "

    own_redis.kill()
    reply = (await ask(mesh, "what did I say", session_id="s")).json()
    assert reply["answer"] == "You said: "
    (warning,) = reply["warnings"]
    assert "redis at redis://127.0.0.1" in warning
    assert own_redis.password not in warning
    assert "context_assembled" in [event["type"] for event in await events_of(mesh, reply["run_id"])]
    await proven(mesh, reply["run_id"])

    async def away() -> bool:
        return (await movable.condition())[:2] == ("False", "Unavailable")

    await until(away, 30)
    assert own_redis.password not in str(await movable.condition())
    own_redis.start()

    async def back() -> bool:
        return (await movable.condition())[:2] == ("True", "Connected")

    await until(back, 30)
    assert await recalled(mesh) == "You said: what did I say / what did I say"
    assert own_redis.password.encode() not in mesh.log.read_bytes()


@pytest.mark.serial
@pytest.mark.timeout(120)
async def test_a_run_whose_memory_is_away_for_a_moment_waits_for_it(movable: Movable, own_redis: RedisServer) -> None:
    mesh = movable.mesh
    await movable.declare(**REDIS)
    await ask(mesh, "say one", session_id="s")
    own_redis.kill()
    asking = asyncio.create_task(recalled(mesh))
    await asyncio.sleep(1)
    assert not asking.done()
    own_redis.start()
    assert await asking == "You said: say one"


@pytest.mark.serial
@pytest.mark.timeout(120)
async def test_a_session_expires_and_stays_forgotten(movable: Movable) -> None:
    mesh = movable.mesh
    await movable.declare(ttl=2)
    await ask(mesh, "say one", session_id="s")
    assert await recalled(mesh) == "You said: say one"
    await asyncio.sleep(2.2)
    assert await recalled(mesh) == "You said: "

    async def gone() -> bool:
        return await said(mesh, "s") == ["what did I say"]

    await until(gone, 20)

    async def expired() -> bool:
        return (await get(mesh, "talker/sessions"))["sessions"] == []

    await until(expired, 20)
    await movable.declare()
    assert (await mesh.client.post("/v1/memory/talker/rebuild")).status_code == 200
    assert await said(mesh, "s") == []


@pytest.mark.serial
@pytest.mark.timeout(120)
async def test_a_summary_is_made_once_kept_through_a_rebuild_and_never_asked_for_again(movable: Movable) -> None:
    mesh = movable.mesh
    await movable.declare(strategy="summary", max_turns=2)
    runs = [(await ask(mesh, f"say word{number}", session_id="s")).json() for number in range(4)]
    assert [len(run["steps"]) for run in runs] == [1, 1, 1, 2]
    assert await proven(mesh, runs[3]["run_id"])
    export = await get(mesh, "talker/sessions/s/export")
    assert export["summary"]
    assert export["turns"] == 4
    answered = len(movable.model.requests)
    assert (await mesh.client.post("/v1/memory/talker/rebuild")).status_code == 200
    assert (await get(mesh, "talker/sessions/s/export"))["summary"] == export["summary"]
    assert len(movable.model.requests) == answered
    await ask(mesh, "say last", session_id="s")
    prompt, *told = [str(message["content"]) for message in movable.model.requests[-1].messages]
    assert prompt.endswith(export["summary"])
    assert told == ["say word2", "word2", "say word3", "word3", "say last"]
