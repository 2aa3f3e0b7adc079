"""Asking an agent over HTTP: answers, refusals, retries, callers that leave."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from astromesh.v1.runs_pb2 import RUN_STATUS_QUEUED, RUN_STATUS_RUNNING, Run
from astromesh_core.bus.subjects import run_aggregate
from astromesh_gateway.bodies import RunBody
from astromesh_testing.scripted_runtime import ScriptedRun

from .conftest import Mesh

RUN = "/v1/agents/agent/run"


async def ask(mesh: Mesh, query: str = "what is 1 + 1?", key: str = "", **body: object) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await mesh.client.post(RUN, json={"query": query, **body}, headers=headers)


async def test_answers_with_the_run_its_steps_and_its_usage(mesh: Mesh) -> None:
    response = await ask(mesh, session_id="tuesday")
    reply = response.json()
    assert response.status_code == 200, reply
    assert (reply["answer"], reply["status"], reply["session_id"]) == ("it is 2", "completed", "tuesday")
    assert [(step["path"], step["kind"], step["status"]) for step in reply["steps"]] == [
        ("1", "model", "succeeded"),
        ("2.1", "tool", "succeeded"),
        ("3", "model", "succeeded"),
    ]
    assert reply["usage"]["input_tokens"] == 20
    assert response.headers["x-run-id"] == reply["run_id"]


async def test_a_failed_run_answers_its_error_with_its_id(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.fail("timed-out", "the model did not answer")

    mesh.runtime.script = script
    response = await ask(mesh)
    problem = response.json()
    assert response.status_code == problem["status"] == 504
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["detail"] == "the model did not answer"
    assert (await mesh.client.get(f"/v1/runs/{problem['run_id']}")).json()["status"] == "failed"


async def test_a_run_that_waits_answers_202_and_says_for_what(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.call("1.1", "pay")
        await run.lost("1.1")

    mesh.runtime.script = script
    response = await ask(mesh)
    assert response.status_code == 202
    assert response.json()["status"] == "needs-human"
    assert response.json()["waiting_path"] == "1.1"


async def test_two_retries_at_once_are_one_run(mesh: Mesh) -> None:
    answers = await asyncio.gather(*(ask(mesh, key="k1") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert len(mesh.runtime.runs) == 1


async def test_a_key_is_of_its_body_and_its_session(mesh: Mesh) -> None:
    first = await ask(mesh, key="k2", session_id="a")
    other_body = await ask(mesh, "something else", key="k2", session_id="a")
    other_session = await ask(mesh, key="k2", session_id="b")
    assert other_body.status_code == 409
    assert other_session.status_code == 200
    assert other_session.json()["run_id"] != first.json()["run_id"]


async def test_a_retry_of_a_run_that_waited_and_went_on_answers_its_end(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.call("1.1", "pay")
        await run.lost("1.1")
        signal = await run.signals.get()
        await run.returned("1.1", signal.resolve.result.text, "pay")
        await run.complete("paid")

    mesh.runtime.script = script
    run_id = (await ask(mesh, key="k3")).json()["run_id"]
    body = {"path": "1.1", "outcome": "succeeded", "result": "ok"}
    assert (await mesh.client.post(f"/v1/runs/{run_id}/resolve", json=body)).status_code in (200, 202)
    retried = await ask(mesh, key="k3")
    assert (retried.status_code, retried.json()["answer"]) == (200, "paid")


def test_what_a_caller_says_does_not_stay_in_memory_after_its_request() -> None:
    first, second = (RunBody.model_validate_json(b'{"query": "x", "session_id": "somebody"}') for _ in range(2))
    assert first.session_id is not second.session_id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"query": "\xff\xfe"}', 400),
        (b'{"query": ""}', 422),
        (b'{"query": "  "}', 422),
        (b'{"quest": "x"}', 422),
        (b'{"query": 7}', 422),
        (b'{"query": "x", "context": [1]}', 422),
        (b'{"query": "x", "context": {"n": 1208925819614629174706176}}', 400),
        (b'{"query": "x", "output_schema": {"maximum": 1208925819614629174706176}}', 400),
        (b'{"query": "' + b"x" * (5 << 20) + b'"}', 413),
        (b'"' + b"x" * (16 << 20) + b'"', 413),
    ],
)
async def test_refuses_what_it_cannot_read(mesh: Mesh, body: bytes, status: int) -> None:
    response = await mesh.client.post(RUN, content=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= response.json().keys()
    assert not mesh.runtime.runs


async def test_an_unknown_agent_is_404_with_a_hint(mesh: Mesh) -> None:
    response = await mesh.client.post("/v1/agents/agnet/run", json={"query": "x"})
    assert response.status_code == 404
    assert "did you mean 'agent'?" in response.json()["detail"]


async def test_a_question_of_a_megabyte_arrives_whole(mesh: Mesh) -> None:
    query = "long " * 200_000
    seen: list[str] = []

    async def script(run: ScriptedRun) -> None:
        seen.append((await mesh.bus.values.resolve(run.requested.query)).text)
        await run.start()
        await run.complete("answer " * 100_000)

    mesh.runtime.script = script
    response = await ask(mesh, query)
    assert response.json()["answer"] == "answer " * 100_000
    assert seen == [query]


async def test_starting_a_run_answers_at_once_and_its_id_answers(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await asyncio.Event().wait()

    mesh.runtime.script = script
    response = await mesh.client.post("/v1/agents/agent/runs", json={"query": "x"})
    assert response.status_code == 202
    found = await mesh.client.get(f"/v1/runs/{response.json()['run_id']}")
    assert found.json()["status"] == "queued"


async def test_a_queued_run_says_which_run_it_waits_for(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await asyncio.Event().wait()

    mesh.runtime.script = script
    admitted = [(await mesh.client.post("/v1/agents/agent/runs", json={"query": "x"})).json() for _ in range(3)]
    first, second, third = (Run(run_id=reply["run_id"]) for reply in admitted)
    first.status, second.status, third.status = RUN_STATUS_RUNNING, RUN_STATUS_QUEUED, RUN_STATUS_QUEUED
    mesh.services.history.runs = [third, second, first]
    found = (await mesh.client.get(f"/v1/runs/{third.run_id}")).json()
    assert (found["status"], found["waiting_for"]) == ("queued", f"run {first.run_id}")
    assert mesh.services.history.requests[-1].filter.session_key


async def waits_for_cancel(run: ScriptedRun) -> None:
    await run.start()
    await run.begin("1")
    run.tell("1", "half", 0)
    await run.cancelled_by(await run.signals.get())


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_caller_that_leaves_cancels_where_it_asked_for_it(mesh: Mesh, accept: str) -> None:
    mesh.runtime.script = waits_for_cancel
    body = {"query": "x", "cancel_on_disconnect": True}
    request = mesh.client.build_request("POST", RUN, json=body, headers={"Accept": accept})
    sending = asyncio.create_task(mesh.client.send(request, stream=True))
    run = await mesh.runtime.next_run()
    if accept == "text/event-stream":
        response = await sending
        async for line in response.aiter_lines():
            if "half" in line:
                break
        await response.aclose()
    else:
        sending.cancel()
    ended = [event async for event in mesh.bus.log.follow(run.aggregate)][-1].envelope.run.cancelled
    assert ended.reason == "the caller left"
    assert ended.partial_answer.text == ("half" if accept == "text/event-stream" else "")


async def test_a_run_goes_on_without_its_caller_otherwise(mesh: Mesh) -> None:
    go_on = asyncio.Event()

    async def script(run: ScriptedRun) -> None:
        await run.start()
        await go_on.wait()
        await run.complete("done anyway")

    mesh.runtime.script = script
    async with mesh.client.stream("POST", RUN, json={"query": "x"}, headers={"Accept": "text/event-stream"}) as reply:
        run_id = reply.headers["x-run-id"]
    go_on.set()
    events = [event async for event in mesh.bus.log.follow(run_aggregate("default", run_id))]
    assert events[-1].envelope.run.completed.answer.text == "done anyway"


async def test_a_full_namespace_is_refused_with_a_time_to_come_back(mesh: Mesh) -> None:
    mesh.bus.loads.tell("worker", {"default": 1000})
    # What is told passes the server before what is asked next on the same connection, and the gateway's comes after.
    await mesh.bus.log.end()
    await mesh.gateway.bus.log.end()
    response = await ask(mesh)
    assert response.status_code == 429
    assert response.json()["retry_after"] == 1.0
    assert response.headers["retry-after"] == "1"


async def test_a_caller_that_breaks_off_in_its_body_is_no_error(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    host, port = mesh.url.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {RUN} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await ask(mesh)).status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
