"""Forks over a whole mesh: they share a past, change nothing in the world, and stand by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .asking import ask, events_of, proven, run_of, until_status
from .conftest import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def asked(talking: Talking, question: str) -> dict[str, Any]:
    return (await ask(talking.mesh, question)).json()


async def forked(talking: Talking, run_id: str, **body: object) -> dict[str, Any]:
    """The fork, ended."""
    answer = await talking.mesh.client.post(f"/v1/runs/{run_id}/fork", json=body)
    assert answer.status_code == 202, answer.text
    fork = answer.json()
    assert fork["forked_from"] == run_id
    return await until_status(talking.mesh, fork["run_id"], "completed")


async def remembered(talking: Talking) -> dict[str, Any]:
    return (await talking.mesh.client.get("/v1/memory/talker/history/forked-session")).json()


async def test_a_fork_at_every_event_comes_to_the_same_and_leaves_its_source_as_it_was(talking: Talking) -> None:
    source = await asked(talking, "note forked-everywhere")
    before = await events_of(talking.mesh, source["run_id"])
    assert talking.folder.done("note")["forked-everywhere"] == 1
    for at in range(len(before)):
        fork = await forked(talking, source["run_id"], at=at)
        assert fork["forked_from"] == {"run_id": source["run_id"], "at": at}
        assert [step["path"] for step in fork["steps"]] == [step["path"] for step in source["steps"]]
        await proven(talking.mesh, fork["run_id"])
    assert await events_of(talking.mesh, source["run_id"]) == before
    # However often it was forked, the note was taken once.
    assert talking.folder.done("note")["forked-everywhere"] == 1


async def test_what_would_change_the_world_is_simulated_and_called_where_it_is_wanted(talking: Talking) -> None:
    source = await asked(talking, "note simulated")
    fork = await forked(talking, source["run_id"], at=0)
    (step,) = [step for step in fork["steps"] if step["kind"] == "tool"]
    assert step["simulated"]
    assert "simulated" in step["output"]
    live = await forked(talking, source["run_id"], at=0, live=True)
    assert not any(step.get("simulated") for step in live["steps"])
    assert talking.folder.done("note")["simulated"] == 2


async def test_a_fork_goes_on_from_another_result_another_question_and_another_prompt(talking: Talking) -> None:
    source = await asked(talking, "add 20 22")
    other = await forked(talking, source["run_id"], tool_results={"2.1": "43"})
    assert (source["answer"], other["answer"]) == ("It is 42.", "It is 43.")
    asked_again = await forked(talking, source["run_id"], query="add 1 2")
    assert asked_again["answer"] == "It is 3."
    prompted = await forked(talking, source["run_id"], at=3, prompt="Answer in verse.")
    sent = (await talking.mesh.client.get(f"/v1/runs/{prompted['run_id']}/at/3")).json()["prompt"]["messages"]
    assert sent[0]["content"].startswith("Answer in verse.")
    for run in (other, asked_again, prompted):
        await proven(talking.mesh, run["run_id"])


async def test_a_fork_is_billed_for_what_it_asks_itself(talking: Talking) -> None:
    source = await asked(talking, "add 20 22")
    whole = await forked(talking, source["run_id"], at=len(await events_of(talking.mesh, source["run_id"])) - 1)
    fresh = await forked(talking, source["run_id"], at=0)
    assert whole["answer"] == fresh["answer"] == source["answer"]
    assert whole["usage"]["input_tokens"] == 0
    assert fresh["usage"]["input_tokens"] == source["usage"]["input_tokens"]


async def test_nobody_remembers_a_fork(talking: Talking) -> None:
    body = {"query": "add 20 22", "session_id": "forked-session"}
    source = (await talking.mesh.client.post("/v1/agents/talker/run", json=body)).json()
    async with asyncio.timeout(20):
        while not (before := await remembered(talking))["history"]:  # noqa: ASYNC110 - memory tells nobody that it has applied a run
            await asyncio.sleep(0.05)
    fork = await forked(talking, source["run_id"], at=5)
    assert fork["session_id"] != "forked-session"
    assert await remembered(talking) == before
    assert "memory_stored" not in [event["type"] for event in await events_of(talking.mesh, fork["run_id"])]


async def test_forks_that_cannot_be_are_refused_with_the_reason(talking: Talking) -> None:
    source = await asked(talking, "add 20 22")
    for body, status, told in (
        ({"at": 99}, 400, "events 0 to"),
        ({"model": {"provider": "nobody"}}, 400, "the edited agent is none"),
        ({"model": {"provider": "openai_compat", "model": "m", "api_key": "sk-1"}}, 400, "holds a secret itself"),
        ({"agent_version": "last"}, 422, "agent_version"),
        ({"unknown": 1}, 422, "unknown"),
    ):
        answer = await talking.mesh.client.post(f"/v1/runs/{source['run_id']}/fork", json=body)
        assert (answer.status_code, told in answer.text) == (status, True), answer.text
    missing = await talking.mesh.client.post(f"/v1/runs/07-{'a' * 26}/fork", json={})
    assert missing.status_code == 404
    answer = await talking.mesh.client.post(f"/v1/runs/{source['run_id']}/fork", json={"tool_results": {"9.9": "x"}})
    assert answer.status_code == 202
    failed = await until_status(talking.mesh, answer.json()["run_id"], "failed")
    assert "no tool has answered at step 9.9" in failed["failure"]["message"]
    assert (await run_of(talking.mesh, source["run_id"]))["answer"] == "It is 42."
