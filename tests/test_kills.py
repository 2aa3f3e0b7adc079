"""SIGKILL in the middle of runs: of nats-server, of the whole mesh, of each service's process; and SIGTERM."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from astromesh_testing.mesh import Mesh

from .asking import Json, ask, events_of, proven, settled, start
from .conftest import OpenMesh, Talking

pytestmark = [pytest.mark.serial, pytest.mark.timeout(120)]

QUESTIONS = (
    *(f"slowly {number} and more words to be interrupted by" for number in range(3)),
    *(f"add {number} 1" for number in range(3)),
    *(f"note n{number}" for number in range(3)),
    *(f"count c{number}" for number in range(3)),
    *(f"hold h{number} 0.5" for number in range(3)),
)
SESSIONS = 5
"""Runs share sessions, so that some are queued behind others."""


async def ask_everything(mesh: Mesh, questions: Sequence[str] = QUESTIONS) -> dict[str, str]:
    """Starts a run for each question; run ids with their questions."""
    runs: dict[str, str] = {}
    for number, question in enumerate(questions):
        runs[await start(mesh, question, session_id=f"s{number % SESSIONS}")] = question
    return runs


async def check(talking: Talking, run_id: str, question: str) -> Json:
    """What must hold of a run after any crash: it ended as it should, proven, its effects as its log says."""
    run = await settled(talking.mesh, run_id)
    kinds = await proven(talking.mesh, run_id)
    word, _, rest = question.partition(" ")
    text = rest.split(" ")[0]
    if run["status"] == "needs-human":
        assert word in ("note", "hold"), "only a write may stay unknown"
        assert "tool_outcome_unknown" in kinds
        body = {"path": run["waiting_path"], "outcome": "succeeded", "result": "found by hand"}
        resolved = await talking.mesh.client.post(f"/v1/runs/{run_id}/resolve", json=body)
        assert resolved.status_code in (200, 202), resolved.text
        async with asyncio.timeout(20):
            while (run := await settled(talking.mesh, run_id))["status"] == "needs-human":
                await asyncio.sleep(0.05)
        await proven(talking.mesh, run_id)
    assert run["status"] == "completed", run
    if word in ("note", "hold"):
        begun = [effect for effect in talking.folder.effects() if effect.tool == word and effect.text == text]
        assert len([effect for effect in begun if effect.phase == begun[0].phase]) <= 1, "a write was repeated"
    if word == "count":
        keys = {effect.key for effect in talking.folder.effects() if effect.tool == "count" and effect.text == text}
        assert keys == {f"{run_id}:2.1"}
    if word == "slowly":
        assert run["answer"] == rest
    return run


async def check_all(talking: Talking, runs: dict[str, str]) -> None:
    """Every run, and then that memory and history tell what the log tells."""
    records = [await check(talking, run_id, question) for run_id, question in runs.items()]
    client = talking.mesh.client
    async with asyncio.timeout(20):
        while True:
            listed = (await client.get("/v1/runs", params={"agent": "talker", "page_size": 1000})).json()["runs"]
            shown = {run["run_id"]: (run["status"], run["answer"], run["events"]) for run in listed}
            stored = {
                record["run_id"]: (
                    record["status"],
                    record["answer"],
                    len(await events_of(talking.mesh, record["run_id"])),
                )
                for record in records
            }
            if stored.items() <= shown.items():
                break
            await asyncio.sleep(0.2)
    for number in range(SESSIONS):
        path = f"/v1/memory/talker/history/s{number}"
        turns = (await client.get(path, params={"limit": 1000})).json()["history"]
        answered = [turn["content"] for turn in turns if turn["role"] == "assistant" and turn["content"]]
        expected = [record["answer"] for record in records if record["session_id"] == f"s{number}"]
        assert answered == expected
        asked = [turn["content"] for turn in turns if turn["role"] == "user"]
        assert asked == [runs[record["run_id"]] for record in records if record["session_id"] == f"s{number}"]


async def test_runs_outlive_the_broker(open_mesh: OpenMesh) -> None:
    talking = await open_mesh()
    runs = await ask_everything(talking.mesh)
    await asyncio.sleep(0.1)
    await talking.mesh.kill_process("nats-server")
    await check_all(talking, runs)
    await talking.mesh.ready()
    assert (await ask(talking.mesh, "say after")).json()["answer"] == "after"


async def test_a_caller_who_waits_is_answered_over_the_brokers_death(open_mesh: OpenMesh) -> None:
    talking = await open_mesh()
    waiting = [asyncio.create_task(ask(talking.mesh, f"slowly {n} one two three four five six")) for n in range(5)]
    await asyncio.sleep(0.3)
    await talking.mesh.kill_process("nats-server")
    for number, reply in enumerate(await asyncio.gather(*waiting)):
        assert reply.status_code == 200, reply.text
        assert reply.json()["answer"] == f"{number} one two three four five six"
        await proven(talking.mesh, reply.json()["run_id"])


@pytest.mark.parametrize("after", [0.0, 0.15, 0.4])
async def test_runs_outlive_the_whole_mesh(open_mesh: OpenMesh, after: float) -> None:
    talking = await open_mesh()
    runs = await ask_everything(talking.mesh)
    await asyncio.sleep(after)
    await talking.mesh.kill()
    await talking.mesh.start()
    await check_all(talking, runs)


async def test_a_write_cut_off_waits_for_a_human_and_is_never_repeated(open_mesh: OpenMesh) -> None:
    talking = await open_mesh()
    run_id = await start(talking.mesh, "hold once 0.8")
    async with asyncio.timeout(10):
        while not talking.folder.effects():
            await asyncio.sleep(0.01)
    await talking.mesh.kill()
    await talking.mesh.start()
    run = await settled(talking.mesh, run_id)
    assert (run["status"], run["waiting_path"]) == ("needs-human", "2.1")
    body = {"path": "2.1", "outcome": "succeeded", "result": "seen in the ledger"}
    assert (await talking.mesh.client.post(f"/v1/runs/{run_id}/resolve", json=body)).status_code == 200
    async with asyncio.timeout(10):
        while (run := await settled(talking.mesh, run_id))["status"] != "completed":
            await asyncio.sleep(0.05)
    assert run["answer"] == "It is seen in the ledger."
    assert [effect.phase for effect in talking.folder.effects()] == ["begun"]
    await proven(talking.mesh, run_id)


async def test_a_question_twice_over_a_crash_is_one_run(open_mesh: OpenMesh) -> None:
    talking = await open_mesh()
    first = await start(talking.mesh, "note once", key="k", session_id="s")
    await talking.mesh.kill()
    await talking.mesh.start()
    again = await ask(talking.mesh, "note once", key="k", session_id="s")
    assert again.json()["run_id"] == first
    assert talking.folder.done("note")["once"] <= 1


@pytest.mark.parametrize("processes", [False, True], ids=["one-process", "processes"])
async def test_sigterm_in_mid_run_exits_0_and_leaves_nothing(open_mesh: OpenMesh, processes: bool) -> None:
    talking = await open_mesh(processes=processes)
    runs = await ask_everything(talking.mesh, QUESTIONS[:6])
    assert await talking.mesh.stop() == 0, talking.mesh.last_words()
    await talking.mesh.marked.gone(2)
    for port in (talking.mesh.port, talking.mesh.grpc_port, talking.mesh.nats_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    await talking.mesh.start()
    for run_id, question in runs.items():
        await check(talking, run_id, question)


SERVICES = (
    "runtime",
    "router",
    "tools",
    "memory",
    "guardrails",
    "history",
    "rag",
    "operator",
    "gateway",
    "nats-server",
)


async def test_runs_outlive_each_service(open_mesh: OpenMesh) -> None:
    talking = await open_mesh(processes=True)
    for service in SERVICES:
        questions = [question.replace("n", f"{service[:2]}n", 1) for question in QUESTIONS[6:9]]
        runs = await ask_everything(talking.mesh, [*questions, *QUESTIONS[:2]])
        await asyncio.sleep(0.1)
        await talking.mesh.kill_process(service)
        await talking.mesh.ready()
        for run_id, question in runs.items():
            await check(talking, run_id, question)
