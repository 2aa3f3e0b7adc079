"""Runs as records: listed, shown, verified, replayed, cancelled, resolved, and one for each idempotency key."""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime
from itertools import pairwise

import pytest

from astromesh_testing.mesh import Mesh
from astromesh_testing.waiting import until

from .asking import Json, ask, events_of, proven, run_of, settled, start, streamed, until_status
from .conftest import Talking

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def between(mesh: Mesh, first: str, second: str) -> tuple[str, str]:
    """When the first run ended, and when the second was asked for."""
    return (await run_of(mesh, first))["ended_at"], (await run_of(mesh, second))["requested_at"]


async def test_runs_are_listed_and_searched_by_all_that_they_are_found_by(talking: Talking) -> None:
    client, session = talking.mesh.client, secrets.token_hex(4)
    first = (await ask(talking.mesh, f"say zebra{session} first", session_id=session)).json()["run_id"]
    second = (await ask(talking.mesh, f"say zebra{session} second", session_id=session)).json()["run_id"]

    async def found(**wanted: object) -> list[str]:
        query = {name: str(value) for name, value in wanted.items()}
        response = await client.get("/v1/runs", params=query)
        assert response.status_code == 200, response.text
        return [run["run_id"] for run in response.json()["runs"]]

    async def both() -> bool:
        return await found(agent="talker", session=session) == [second, first]

    await until(both)
    assert await found(text=f"zebra{session} second") == [second]
    assert await found(agent="talker", session=session, status="failed") == []
    ended, requested = [datetime.fromisoformat(moment) for moment in await between(talking.mesh, first, second)]
    middle = (ended + (requested - ended) / 2).isoformat()
    assert await found(agent="talker", session=session, until=middle) == [first]
    assert await found(agent="talker", session=session, **{"from": middle}) == [second]
    page = (await client.get("/v1/runs", params={"agent": "talker", "session": session, "page_size": 1})).json()
    assert [run["run_id"] for run in page["runs"]] == [second]
    assert await found(agent="talker", session=session, page_size=1, page_token=page["next_page_token"]) == [first]
    assert (await client.get("/v1/runs", params={"session": session})).status_code == 400
    assert (await client.get("/v1/runs", params={"colour": "red"})).status_code == 422


async def test_a_run_answers_from_the_moment_its_id_was_given_out(talking: Talking) -> None:
    for _ in range(10):
        run_id = await start(talking.mesh, "say quickly")
        assert (await run_of(talking.mesh, run_id))["run_id"] == run_id
        await settled(talking.mesh, run_id)


async def test_events_come_in_pages_with_positions_that_are_ids_and_indexes(talking: Talking) -> None:
    run_id = (await ask(talking.mesh, "add 1 2")).json()["run_id"]
    events = await events_of(talking.mesh, run_id)
    assert [event["position"] for event in events] == [f"{run_id}:{index}" for index in range(len(events))]
    page = await talking.mesh.client.get(f"/v1/runs/{run_id}/events", params={"page_size": 3, "page_token": "3"})
    assert [event["index"] for event in page.json()["events"]] == [3, 4, 5]


async def test_what_does_not_exist_is_a_problem_document(talking: Talking) -> None:
    client = talking.mesh.client
    unknown = "07-" + "a" * 26
    for response in (
        await client.get(f"/v1/runs/{unknown}"),
        await client.get(f"/v1/runs/{unknown}/events"),
        await client.post(f"/v1/runs/{unknown}/cancel"),
        await client.post(f"/v1/runs/{unknown}/verify"),
        await client.post(f"/v1/runs/{unknown}/replay"),
        await client.post(f"/v1/runs/{unknown}/resolve", json={"path": "2.1", "outcome": "failed"}),
        await client.get("/v1/agents/nobody"),
        await client.get("/v1/nothing"),
        await ask(talking.mesh, "x", agent="nobody"),
    ):
        assert response.status_code == 404, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail"} <= response.json().keys()


async def test_a_run_of_another_namespace_is_not_found(talking: Talking) -> None:
    reply = await ask(talking.mesh, "say here", namespace="elsewhere")
    assert reply.status_code == 200, reply.text
    run_id = reply.json()["run_id"]
    assert (await talking.mesh.client.get(f"/v1/runs/{run_id}")).status_code == 404
    there = {"X-Astromesh-Namespace": "elsewhere"}
    assert (await talking.mesh.client.get(f"/v1/runs/{run_id}", headers=there)).status_code == 200


async def test_a_key_is_one_run_for_its_body_and_session(talking: Talking) -> None:
    mesh, key = talking.mesh, secrets.token_hex(8)
    first = await ask(mesh, "say one", key=key, session_id="keyed")
    again = await ask(mesh, "say one", key=key, session_id="keyed")
    assert again.json() == first.json()
    other_body = await ask(mesh, "say two", key=key, session_id="keyed")
    assert other_body.status_code == 409
    assert other_body.json()["title"]
    other_session = await ask(mesh, "say one", key=key, session_id="keyed-2")
    assert other_session.status_code == 200
    assert other_session.json()["run_id"] != first.json()["run_id"]
    other_agent = await ask(mesh, "say one", key=key, session_id="keyed", agent="other")
    assert other_agent.json()["run_id"] != first.json()["run_id"]
    private = [(await ask(mesh, "say one", key=key)).json() for _ in range(2)]
    assert private[0] == private[1]


async def test_duplicates_at_once_are_one_run_with_one_effect(talking: Talking) -> None:
    key, text = secrets.token_hex(8), secrets.token_hex(4)
    plain = [ask(talking.mesh, f"note {text}", key=key, session_id="dup") for _ in range(10)]
    replies = [reply.json() for reply in await asyncio.gather(*plain)]
    assert len({reply["run_id"] for reply in replies}) == 1
    assert {reply["answer"] for reply in replies} == {f"It is noted {text}."}
    assert talking.folder.done("note")[text] == 1


async def test_one_session_has_one_run_at_a_time_in_order_of_arrival(talking: Talking) -> None:
    session = secrets.token_hex(4)
    runs = [await start(talking.mesh, f"slowly {number} of these", session_id=session) for number in range(4)]
    for run in runs:
        assert (await settled(talking.mesh, run))["status"] == "completed"
    spans = [
        ((await run_of(talking.mesh, run))["started_at"], (await run_of(talking.mesh, run))["ended_at"]) for run in runs
    ]
    assert spans == sorted(spans)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


async def test_a_cancelled_run_ends_cancelled_and_its_caller_is_told(talking: Talking) -> None:
    asked = asyncio.create_task(ask(talking.mesh, "hang", session_id="to-cancel"))

    async def working() -> list[Json]:
        page = await talking.mesh.client.get("/v1/runs", params={"agent": "talker", "session": "to-cancel"})
        return [run for run in page.json()["runs"] if run["status"] == "running"]

    running = await until(working)
    cancelled = await talking.mesh.client.post(f"/v1/runs/{running[0]['run_id']}/cancel", json={"reason": "enough"})
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    reply = await asked
    assert reply.json()["run_id"] == running[0]["run_id"]
    assert reply.status_code >= 400
    kinds = await proven(talking.mesh, running[0]["run_id"])
    assert kinds[-1] == "cancelled"
    again = await talking.mesh.client.post(f"/v1/runs/{running[0]['run_id']}/cancel")
    assert again.json()["status"] == "cancelled"


@pytest.mark.parametrize(("outcome", "answer"), [("succeeded", "It is settled by hand."), ("failed", "")])
async def test_a_write_without_an_answer_waits_for_a_human_and_goes_on(
    talking: Talking, outcome: str, answer: str
) -> None:
    text = secrets.token_hex(4)
    reply = await ask(talking.mesh, f"hold {text} 1.3")
    waiting = reply.json()
    assert (reply.status_code, waiting["status"], waiting["waiting_path"]) == (202, "needs-human", "2.1")
    path = f"/v1/runs/{waiting['run_id']}/resolve"
    wrong = await talking.mesh.client.post(path, json={"path": "1", "outcome": outcome})
    assert wrong.status_code == 409
    body = {"path": "2.1", "outcome": outcome, "result": "settled by hand"}
    assert (await talking.mesh.client.post(path, json=body)).status_code == 200
    run = await until_status(talking.mesh, waiting["run_id"], "completed")
    assert run["answer"] == answer or (not answer and "settled by hand" in run["answer"])
    kinds = await proven(talking.mesh, waiting["run_id"])
    assert "tool_outcome_unknown" in kinds
    assert (await talking.mesh.client.post(path, json=body)).status_code == 409
    assert talking.folder.done("hold")[text] <= 1


async def test_a_run_behind_one_that_needs_a_human_tells_its_caller_so_and_goes_on_afterwards(talking: Talking) -> None:
    session, text = secrets.token_hex(4), secrets.token_hex(4)
    ahead = (await ask(talking.mesh, f"hold {text} 1.3", session_id=session)).json()
    assert ahead["status"] == "needs-human"
    reply = await ask(talking.mesh, "say afterwards", session_id=session)
    queued = reply.json()
    assert (reply.status_code, queued["status"], queued["waiting_for"]) == (202, "queued", f"run {ahead['run_id']}")
    told = await streamed(talking.mesh, "say afterwards", session_id=session)
    assert (told[-1].name, told[-1].data["waiting_for"]) == ("done", f"run {ahead['run_id']}")
    body = {"path": "2.1", "outcome": "succeeded", "result": "settled"}
    assert (await talking.mesh.client.post(f"/v1/runs/{ahead['run_id']}/resolve", json=body)).status_code == 200
    for run_id in (ahead["run_id"], queued["run_id"], told[-1].data["run_id"]):
        await until_status(talking.mesh, run_id, "completed")


async def test_a_failed_run_answers_a_problem_with_its_run_id(talking: Talking) -> None:
    told = await streamed(talking.mesh, "add nothing")
    assert told[-1].name in ("done", "error")
    assert told[-1].data["run_id"]
