"""Semantic and episodic memory in a whole mesh: a later run answers from what an earlier one of the same user left."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest
from pydantic import JsonValue

from astromesh_testing.mesh import Mesh, running_mesh
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Reply
from astromesh_testing.models.scripted import ChatRequest
from astromesh_testing.postgres import PostgresServer
from astromesh_testing.waiting import until

from .asking import Json, ask, proven
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEMORY: dict[str, JsonValue] = {"semantic": {"backend": "faiss"}, "episodic": {"backend": "sqlite"}}
DOG, QUESTION = "My dog is called Rex, remember that.", "What is my dog called?"
KNOWN, UNKNOWN = "Your dog is Rex.", "I do not know."


def from_memory(request: ChatRequest) -> Reply:
    """Answers a question by what stands in the prompt, and takes note of anything else."""
    system, last = str(request.messages[0].get("content")), str(request.messages[-1].get("content"))
    if not last.endswith("?"):
        return Reply("Noted.")
    found = re.search(r"dog is called (\w+)", system) if request.messages[0].get("role") == "system" else None
    return Reply(f"Your dog is {found[1]}." if found else UNKNOWN)


async def answer(talking: Talking, agent: str, query: str, user: str = "", session_id: str = "") -> str:
    reply = await ask(talking.mesh, query, agent=agent, user=user, session_id=session_id)
    assert reply.status_code == 200, reply.text
    return reply.json()["answer"]


async def test_a_later_session_answers_from_what_an_earlier_one_left_until_it_is_cleared(talking: Talking) -> None:
    client = talking.mesh.client
    async with (
        OpenAIChatServer(otherwise=from_memory) as model,
        made_agent(talking, [model.endpoint], memory=MEMORY, tools=[]) as agent,
    ):
        first = (await ask(talking.mesh, DOG, agent=agent, user="ada", session_id="monday")).json()
        told = (await ask(talking.mesh, QUESTION, agent=agent, user="ada", session_id="friday")).json()
        assert told["answer"] == KNOWN
        context = await context_of(talking, told["run_id"])
        (memory,) = context["memories"]
        assert memory["source"] == first["run_id"]
        assert memory["id"].startswith(f"{first['run_id']}:")
        assert context["episodes"][0]["run_id"] == first["run_id"]
        await proven(talking.mesh, told["run_id"])
        assert await answer(talking, agent, QUESTION, user="bob", session_id="monday") == UNKNOWN
        assert await answer(talking, agent, QUESTION) == UNKNOWN

        rated = await client.post(f"/v1/runs/{first['run_id']}/feedback", json={"rating": 1, "comment": "good dog"})
        assert rated.status_code == 200, rated.text
        asked = {"query": QUESTION, "user": "ada"}
        before = [(await client.get(f"/v1/memory/{agent}/{kind}", params=asked)).json() for kind in KINDS]
        assert before[1]["episodes"][-1]["feedback"][0]["comment"] == "good dog"
        rebuilt = (await client.post(f"/v1/memory/{agent}/rebuild")).json()
        assert (rebuilt["semantic"], rebuilt["episodic"]) == (3, 3)
        assert [memories(await searched(talking, agent, kind, asked)) for kind in KINDS] == list(map(memories, before))

        assert (await client.delete(f"/v1/memory/{agent}/history/monday")).status_code == 204
        assert (await client.delete(f"/v1/memory/{agent}/history/friday")).status_code == 204
        assert await answer(talking, agent, QUESTION, user="ada", session_id="sunday") == UNKNOWN
        assert (await client.post(f"/v1/memory/{agent}/rebuild")).json()["semantic"] == 1


async def test_a_person_is_exported_and_forgotten_with_what_was_made_of_them(talking: Talking) -> None:
    client, user, other = talking.mesh.client, f"u-{secrets.token_hex(4)}", f"u-{secrets.token_hex(4)}"
    async with (
        OpenAIChatServer(otherwise=from_memory) as model,
        made_agent(talking, [model.endpoint], memory=MEMORY, tools=[]) as agent,
    ):
        told = (await ask(talking.mesh, DOG, agent=agent, user=user)).json()
        await ask(talking.mesh, DOG, agent=agent, user=other, session_id="shared")
        await ask(talking.mesh, DOG, agent=agent, user=user, session_id="shared")
        exported = (await client.get(f"/v1/memory/users/{user}/export")).json()["sessions"]
        assert len(exported) == 2
        memories = [memory for session in exported for memory in session["semantic"]]
        assert told["run_id"] in {memory["run_id"] for memory in memories}
        assert all(memory["id"].startswith(f"{memory['run_id']}:") for memory in memories)
        assert [len(session["episodes"]) for session in exported] == [1, 1]
        session = (await client.get(f"/v1/memory/{agent}/sessions/shared/export")).json()
        assert (len(session["semantic"]), len(session["episodes"])) == (4, 2)

        forgotten = await client.delete(f"/v1/memory/users/{user}")
        assert forgotten.json() == {"user": user, "sessions": 2}
        assert await answer(talking, agent, QUESTION, user=user, session_id="new") == UNKNOWN
        assert await answer(talking, agent, QUESTION, user=other, session_id="new") == KNOWN
        rebuilt = (await client.post(f"/v1/memory/{agent}/rebuild")).json()
        assert (rebuilt["semantic"], rebuilt["episodic"]) == (3, 3)
        assert await answer(talking, agent, QUESTION, user=user, session_id="newer") == UNKNOWN


async def test_all_three_memories_are_the_same_after_a_rebuild(talking: Talking) -> None:
    client, user = talking.mesh.client, f"u-{secrets.token_hex(4)}"
    memory: dict[str, JsonValue] = {"conversational": {"backend": "sqlite"}, **MEMORY}
    async with made_agent(talking, [talking.model.endpoint], memory=memory) as agent:
        for session in ("a", "b", "c"):
            for question in ("say hello", f"add 20 {session.encode()[0]}"):
                reply = await ask(talking.mesh, question, agent=agent, user=user, session_id=session)
                assert reply.status_code == 200, reply.text
        await client.post(f"/v1/runs/{reply.json()['run_id']}/feedback", json={"rating": -1, "comment": "wrong"})
        assert (await client.delete(f"/v1/memory/{agent}/history/b")).status_code == 204
        paths = [f"/v1/memory/{agent}/sessions/{session}/export" for session in "abc"]
        before = [(await client.get(path)).json() for path in paths]
        assert [len(export["semantic"]) for export in before] == [4, 0, 4]
        assert [len(export["episodes"]) for export in before] == [2, 0, 2]
        assert [export["turns"] for export in before] == [2, 0, 2]
        comments = [said["comment"] for episode in before[2]["episodes"] for said in episode["feedback"]]
        assert comments == ["wrong"]
        rebuilt = (await client.post(f"/v1/memory/{agent}/rebuild")).json()
        assert (rebuilt["turns"], rebuilt["semantic"], rebuilt["episodic"]) == (4, 4, 4)
        assert [(await client.get(path)).json() for path in paths] == before


KINDS = ("semantic", "episodes")


async def searched(talking: Talking, agent: str, kind: str, asked: dict[str, str]) -> Json:
    return (await talking.mesh.client.get(f"/v1/memory/{agent}/{kind}", params=asked)).json()


def memories(found: Json) -> list[tuple[str, str]]:
    """What was found, without scores: those of episodes grow old."""
    return [(it["run_id"], it.get("text") or it["goal"]) for it in found.get("results", found.get("episodes", ()))]


async def context_of(talking: Talking, run_id: str) -> Json:
    events = (await talking.mesh.client.get(f"/v1/runs/{run_id}/events")).json()["events"]
    return next(event["event"] for event in events if event["type"] == "context_assembled")


@pytest.mark.serial
async def test_what_was_remembered_survives_kill_9(tmp_path: Path) -> None:
    async with OpenAIChatServer(otherwise=from_memory) as model:
        folder = ConfigFolder(tmp_path / "config")
        folder.agent("desk", [model.endpoint], memory=MEMORY)
        async with running_mesh(folder.path, tmp_path / "data") as mesh:
            assert (await ask(mesh, DOG, agent="desk", user="ada")).status_code == 200
            await mesh.kill()
            await mesh.start()
            reply = (await ask(mesh, QUESTION, agent="desk", user="ada")).json()
            assert reply["answer"] == KNOWN


@pytest.mark.serial
async def test_episodes_in_a_database_that_is_away_are_told_of_and_come_back(
    tmp_path: Path, own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPISODES_DSN", own_postgres.fresh_database())
    episodic: dict[str, JsonValue] = {
        "backend": "postgres",
        "connection": {"url": "${EPISODES_DSN}"},
        "on_unavailable": "continue",
    }
    async with OpenAIChatServer(otherwise=from_memory) as model:
        folder = ConfigFolder(tmp_path / "config")

        def declare(description: str) -> None:
            """As an edit: the operator looks at once, and else every fifteen seconds."""
            identity: dict[str, JsonValue] = {"description": description}
            folder.agent("desk", [model.endpoint], tools=[], memory={"episodic": episodic}, identity=identity)

        declare("at first")
        async with running_mesh(folder.path, tmp_path / "data") as mesh:
            first = await ask(mesh, DOG, agent="desk", user="ada")
            assert first.status_code == 200, first.text
            own_postgres.stop()
            declare("while it is away")

            async def said(status: str) -> bool:
                return await connected(mesh, "desk") == status

            await until(lambda: said("False"), seconds=30)
            reply = (await ask(mesh, QUESTION, agent="desk", user="ada")).json()
            assert reply["answer"] == UNKNOWN
            assert "PostgreSQL" in reply["warnings"][0]
            own_postgres.start()
            declare("now that it is back")
            await until(lambda: said("True"), seconds=30)
            assert "warnings" not in (await ask(mesh, DOG, agent="desk", user="ada")).json()
            found = await mesh.client.get("/v1/memory/desk/episodes", params={"query": QUESTION, "user": "ada"})
            goals = [episode["goal"] for episode in found.json()["episodes"]]
            assert QUESTION in goals
            assert DOG in goals


async def connected(mesh: Mesh, agent: str) -> str:
    conditions = (await mesh.client.get(f"/v1/agents/{agent}")).json()["conditions"]
    return next(condition["status"] for condition in conditions if condition["type"] == "MemoryConnected")
