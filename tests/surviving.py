"""Runs that are to outlive crashes: many at once, and what must hold of them afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from astromesh_testing.mesh import Mesh
from astromesh_testing.waiting import until

from .asking import Json, proven, settled, start, until_status
from .conftest import Talking

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
        run = await until_status(talking.mesh, run_id, "completed")
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
    stored = {(record["run_id"], record["status"], record["answer"], record["events"]) for record in records}

    async def shown() -> bool:
        listed = (await client.get("/v1/runs", params={"agent": "talker", "page_size": 1000})).json()["runs"]
        return stored <= {(run["run_id"], run["status"], run["answer"], run["events"]) for run in listed}

    await until(shown, 20)
    for number in range(SESSIONS):
        path = f"/v1/memory/talker/history/s{number}"
        turns = (await client.get(path, params={"limit": 1000})).json()["history"]
        answered = [turn["content"] for turn in turns if turn["role"] == "assistant" and turn["content"]]
        expected = [record["answer"] for record in records if record["session_id"] == f"s{number}"]
        assert answered == expected
        asked = [turn["content"] for turn in turns if turn["role"] == "user"]
        assert asked == [runs[record["run_id"]] for record in records if record["session_id"] == f"s{number}"]
