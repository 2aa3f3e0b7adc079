"""A run behind one of its session that waits for somebody: its caller learns it and need not hang on."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from astromesh.v1.runs_pb2 import RUN_STATUS_NEEDS_HUMAN, RUN_STATUS_QUEUED, RUN_STATUS_RUNNING, Run, RunStatus
from astromesh_gateway import waiting
from astromesh_testing.contracts.placement import until
from astromesh_testing.scripted_runtime import ScriptedRun, answers
from astromesh_testing.sse import messages

from .conftest import Mesh

RUN = "/v1/agents/agent/run"
ASK = {"query": "x", "session_id": "s"}


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "GRACE_SECONDS", 0.2)


async def one_at_a_time(run: ScriptedRun) -> None:
    """The session's first run waits for a human; those behind it stay in the queue until the test lets them go."""
    if run.requested.query.text == "first":
        await run.start()
        await run.call("1.1", "pay")
        await run.lost("1.1")


@pytest.fixture
async def holder(mesh: Mesh) -> Run:
    """The run that holds the session, as history has it."""
    mesh.runtime.script = one_at_a_time
    reply = (await mesh.client.post(RUN, json={"query": "first", "session_id": "s"})).json()
    run = Run(run_id=reply["run_id"], namespace="default", status=RUN_STATUS_NEEDS_HUMAN, events=5)
    await mesh.runtime.next_run()
    mesh.services.history.runs = [run]
    return run


async def test_the_plain_call_answers_202_and_names_the_run_ahead(mesh: Mesh, holder: Run) -> None:
    reply = await mesh.client.post(RUN, json=ASK)
    queued = reply.json()
    assert (reply.status_code, queued["status"], queued["waiting_for"]) == (202, "queued", f"run {holder.run_id}")
    assert reply.headers["location"] == f"/v1/runs/{queued['run_id']}"
    assert mesh.services.history.requests[-1].filter.session_key
    run = await mesh.runtime.next_run()
    assert run.aggregate.id == queued["run_id"]
    await answers(run)
    assert (await mesh.client.get(f"/v1/runs/{queued['run_id']}")).json()["answer"] == "it is 2"


async def test_a_retry_with_the_same_key_is_told_the_same(mesh: Mesh, holder: Run) -> None:
    replies = [await mesh.client.post(RUN, json=ASK, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json() == replies[1].json()


async def test_a_stream_ends_with_done_and_names_the_run_ahead(mesh: Mesh, holder: Run) -> None:
    async with mesh.client.stream("POST", RUN, json=ASK, headers={"Accept": "text/event-stream"}) as response:
        told = [message async for message in messages(response)]
    assert [message.name for message in told] == ["step", "done"]
    assert (told[-1].data["status"], told[-1].data["waiting_for"]) == ("queued", f"run {holder.run_id}")


async def test_an_openai_client_is_told_in_an_error(mesh: Mesh, holder: Run) -> None:
    body = {"model": "agent", "messages": [{"role": "user", "content": "x"}]}
    response = await mesh.client.post("/v1/chat/completions", json=body, headers={"X-Astromesh-Session": "s"})
    assert response.status_code == 409
    assert f"it waits for run {holder.run_id}" in response.text
    assert "at step" not in response.text


@pytest.mark.parametrize(
    ("status", "events"), [(RUN_STATUS_RUNNING, 5), (RUN_STATUS_QUEUED, 1), (RUN_STATUS_NEEDS_HUMAN, 4)]
)
async def test_behind_a_run_at_work_or_one_that_has_gone_on_the_caller_waits_for_its_answer(
    mesh: Mesh, holder: Run, status: RunStatus.ValueType, events: int
) -> None:
    holder.status, holder.events = status, events
    asked: asyncio.Task[httpx.Response] = asyncio.create_task(mesh.client.post(RUN, json=ASK))
    run = await mesh.runtime.next_run()
    await until(lambda: len(mesh.services.history.requests) >= 3, 10)
    assert not asked.done()
    await answers(run)
    assert (await asked).json()["answer"] == "it is 2"
