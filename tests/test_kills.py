"""SIGKILL in the middle of runs: of nats-server, of the whole mesh, of each service's process; and SIGTERM."""

from __future__ import annotations

import asyncio
import socket

import pytest

from astromesh_testing.waiting import until

from .asking import ask, proven, settled, start, until_status
from .conftest import OpenMesh
from .surviving import QUESTIONS, ask_everything, check, check_all

pytestmark = [pytest.mark.serial, pytest.mark.timeout(120)]


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

    async def begun() -> bool:
        return bool(talking.folder.effects())

    await until(begun, pause=0.01)
    await talking.mesh.kill()
    await talking.mesh.start()
    run = await settled(talking.mesh, run_id)
    assert (run["status"], run["waiting_path"]) == ("needs-human", "2.1")
    body = {"path": "2.1", "outcome": "succeeded", "result": "seen in the ledger"}
    assert (await talking.mesh.client.post(f"/v1/runs/{run_id}/resolve", json=body)).status_code == 200
    run = await until_status(talking.mesh, run_id, "completed")
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
