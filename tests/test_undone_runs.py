"""The treasurer of docs/approvals.md, word for word, in a mesh: it asks, looks up and undoes as the page says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import yaml

from astromesh_testing.mesh import Mesh, running_mesh
from astromesh_testing.mesh_folders import ConfigFolder
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Reply
from astromesh_testing.models.scripted import ChatRequest

from .asking import Json, ask, events_of, proven, run_of, until_status

PAGE = Path(__file__).parent.parent / "docs" / "approvals.md"
DESK = '''"""A desk that pays refunds: each effect is a line in the ledger."""

import json
import time
from pathlib import Path

LEDGER = Path(__file__).resolve().parent.parent / "desk.jsonl"


def _lines():
    return [json.loads(line) for line in LEDGER.read_text().splitlines()] if LEDGER.exists() else []


def _enter(**line):
    with LEDGER.open("a") as file:
        file.write(json.dumps(line) + "\\n")


def refund(order: str, amount: float, idempotency_key: str) -> dict:
    """Pays a refund."""
    _enter(did="refund", order=order, amount=amount, key=idempotency_key)
    if order == "slow":
        time.sleep(1.5)
    return {"id": f"R-{idempotency_key}"}


def refund_status(key: str) -> dict:
    """Tells what became of a refund."""
    return {"state": "paid" if any(line.get("key") == key for line in _lines()) else "none"}


def take_back(refund: str) -> str:
    """Takes a refund back."""
    if any(line.get("key") == refund[2:] and line["order"] == "stuck" for line in _lines()):
        raise ValueError("the desk is closed")
    _enter(did="take_back", refund=refund)
    return "taken back"
'''


def refunds(request: ChatRequest) -> Reply:
    """`refunds ORDER AMOUNT…`: a refund after the other, then an answer."""
    questions = [number for number, message in enumerate(request.messages) if message.get("role") == "user"]
    _, order, *amounts = str(request.messages[questions[-1]].get("content")).split()
    done = sum(1 for message in request.messages[questions[-1] :] if message.get("role") == "tool")
    if done == len(amounts):
        return Reply("All is refunded.")
    arguments = {"order": order, "amount": float(amounts[done])}
    return Reply(calls=(Call("refund", orjson.dumps(arguments).decode(), f"call_{done}"),))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[tuple[Mesh, Path]]:
    """A mesh with the documented agent, and its desk's ledger."""
    found = re.search(r"```yaml\n# config/agents/treasurer.agent.yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found, f"{PAGE.name} shows no treasurer"
    folder = ConfigFolder(tmp_path / "config")
    (folder.path / "tools" / "desk.py").write_text(DESK, "utf-8")
    async with OpenAIChatServer(otherwise=refunds) as model:
        declared = yaml.safe_load(found[1].replace("${TREASURER_MODEL}", model.endpoint))
        folder.resource("agents/treasurer.agent.yaml", "Agent", declared["metadata"], declared["spec"])
        async with running_mesh(folder.path, tmp_path / "data") as mesh:
            yield mesh, folder.path / "desk.jsonl"


def ledger(path: Path) -> list[Json]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def stuck(mesh: Mesh) -> None:
    """A refund that cannot be taken back waits for somebody who says what is to be done."""
    run_id = (await ask(mesh, "refunds stuck 50 500", agent="treasurer")).json()["run_id"]
    await mesh.client.post(f"/v1/runs/{run_id}/cancel", json={})
    waiting = await until_status(mesh, run_id, "needs-human")
    assert (waiting["waiting_for"], waiting["waiting_path"]) == ("compensation", "2.1")
    assert "closed" in waiting["steps"][1]["failure"]["message"]
    body = {"path": "2.1", "outcome": "failed"}
    left = await mesh.client.post(f"/v1/runs/{run_id}/resolve", json=body)
    assert left.status_code == 200, left.text
    run = await until_status(mesh, run_id, "compensated")
    assert run["warnings"] == ["step 2.1 (refund) was not undone: anonymous left it"]
    assert (await mesh.client.post(f"/v1/runs/{run_id}/resolve", json=body)).status_code == 409
    await proven(mesh, run_id)


@pytest.mark.serial
async def test_the_documented_agent_asks_looks_up_and_undoes(desk: tuple[Mesh, Path]) -> None:
    mesh, path = desk
    waiting = (await ask(mesh, "refunds A-17 50 500", agent="treasurer")).json()
    run_id = waiting["run_id"]
    assert (waiting["waiting_for"], waiting["approvals"][0]["path"]) == ("approval", "4.1")
    assert "expires_at" in waiting["approvals"][0]
    cancelled = await mesh.client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "changed my mind"})
    assert cancelled.json()["status"] == "compensated"
    assert [line["did"] for line in ledger(path)] == ["refund", "take_back"]
    assert ledger(path)[1]["refund"] == f"R-{run_id}:2.1"
    steps = {step["path"]: step["status"] for step in (await run_of(mesh, run_id))["steps"] if step["kind"] == "tool"}
    assert steps == {"2.1": "compensated", "4.1": "failed"}
    assert (await proven(mesh, run_id))[-1] == "compensated"
    await stuck(mesh)
    looked_up = (await ask(mesh, "refunds slow 50", agent="treasurer")).json()
    assert (looked_up["status"], looked_up["answer"]) == ("completed", "All is refunded.")
    assert [line["did"] for line in ledger(path)][2:] == ["refund", "refund"]
    kinds = await proven(mesh, looked_up["run_id"])
    assert kinds.index("tool_outcome_unknown") < kinds.index("step_reconciled") < kinds.index("tool_succeeded")
    told = next(it for it in await events_of(mesh, looked_up["run_id"]) if it["type"] == "tool_succeeded")
    assert told["event"]["resolved_by"] == "reconciled by refund_status"
