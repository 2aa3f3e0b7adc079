"""Rating runs: over HTTP and gRPC, shown with the run."""

from __future__ import annotations

import asyncio

import pytest

from astromesh.v1.agent_pb2 import GetRunRequest, GiveFeedbackRequest
from astromesh_testing.scripted_runtime import ScriptedRun

from .conftest import Mesh
from .test_questions import over_grpc
from .test_running import ask


async def test_what_is_said_of_a_run_is_shown_with_it(mesh: Mesh) -> None:
    run_id = (await ask(mesh, session_id="s")).json()["run_id"]
    assert "feedback" not in (await mesh.client.get(f"/v1/runs/{run_id}")).json()
    body = {"rating": -1, "comment": "it is 3"}
    rated = await mesh.client.post(f"/v1/runs/{run_id}/feedback", json=body)
    assert rated.status_code == 200, rated.text
    shown = (await mesh.client.get(f"/v1/runs/{run_id}")).json()["feedback"]
    assert shown == rated.json()["feedback"]
    assert [(one["rating"], one["comment"], one["principal"]) for one in shown] == [(-1, "it is 3", "anonymous")]


async def test_a_callers_last_word_stands(mesh: Mesh) -> None:
    run_id = (await ask(mesh, session_id="s")).json()["run_id"]
    for rating in (-1, 1):
        rated = await mesh.client.post(f"/v1/runs/{run_id}/feedback", json={"rating": rating})
    assert [one["rating"] for one in rated.json()["feedback"]] == [1]


async def test_feedback_on_one_run_is_not_shown_with_another(mesh: Mesh) -> None:
    first, second = [(await ask(mesh, session_id="s")).json()["run_id"] for _ in range(2)]
    await mesh.client.post(f"/v1/runs/{first}/feedback", json={"rating": 1})
    assert "feedback" not in (await mesh.client.get(f"/v1/runs/{second}")).json()


@pytest.mark.parametrize("body", [{"rating": 2}, {"rating": "good"}, {}, {"rating": 1, "comment": "x" * 4_001}])
async def test_no_other_rating_is_taken(mesh: Mesh, body: dict[str, object]) -> None:
    run_id = (await ask(mesh)).json()["run_id"]
    assert (await mesh.client.post(f"/v1/runs/{run_id}/feedback", json=body)).status_code == 422


async def test_a_run_at_work_cannot_be_rated(mesh: Mesh) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await asyncio.Event().wait()

    mesh.runtime.script = script
    asking = asyncio.create_task(ask(mesh))
    run = await mesh.runtime.next_run()
    refused = await mesh.client.post(f"/v1/runs/{run.aggregate.id}/feedback", json={"rating": 1})
    assert refused.status_code == 409
    asking.cancel()
    unknown = f"{run.aggregate.id[:3]}{'a' * 26}"
    assert (await mesh.client.post(f"/v1/runs/{unknown}/feedback", json={"rating": 1})).status_code == 404


async def test_grpc_rates_and_shows_too(mesh: Mesh) -> None:
    run_id = (await ask(mesh)).json()["run_id"]
    async with over_grpc(mesh) as stub:
        await stub.GiveFeedback(GiveFeedbackRequest(run_id=run_id, rating=1, comment="right"))
        run = (await stub.GetRun(GetRunRequest(run_id=run_id))).run
    assert [(said.rating, said.comment.text) for said in run.feedback] == [(1, "right")]
