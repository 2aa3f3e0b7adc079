"""The cashier of docs/tool-controls.md, word for word, in a mesh: what is denied, cut, cached and runs apart."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from astromesh_testing.waiting import until

from .asking import Json, ask, events_of, proven, settled, start, until_status
from .conftest import Talking
from .made_agents import judged, made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path(__file__).parent.parent / "docs" / "tool-controls.md"

TILL = '''
import os

def refund(amount: int) -> str:
    """Pays an amount back."""
    return f"paid {amount} back"

def orders(customer: str) -> list[dict[str, object]]:
    """Lists a customer's orders."""
    return [{"number": number, "customer": customer, "pid": os.getpid()} for number in range(200)]

def wire(amount: int) -> str:
    """Pays, and never says so."""
    os.write(2, b"paying")
    while True:
        pass

def report() -> int:
    """Tells who wrote it."""
    return os.getpid()
'''


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cashier(talking: Talking) -> AsyncIterator[Talking]:
    (talking.folder.path / "tools").mkdir(exist_ok=True)
    (talking.folder.path / "tools" / "till.py").write_text(TILL)
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"```yaml\n# config/agents/cashier.agent.yaml\n(.*?)```", text, re.DOTALL)
    assert found, f"{PAGE.name} shows no cashier"
    agent = yaml.safe_load(found[1].replace("${CASHIER_MODEL}", talking.model.endpoint))
    created = await talking.mesh.client.post("/v1/agents", json=agent)
    assert created.status_code == 201, created.text
    await until(lambda: judged(talking, "cashier"))
    yield talking
    await talking.mesh.client.delete("/v1/agents/cashier")


async def by_hand(talking: Talking, tool: str, **arguments: object) -> Json:
    body = {"agent": "cashier", "tool_name": tool, "arguments": arguments}
    answered = await talking.mesh.client.post("/v1/tools/execute", json=body)
    return {"status": answered.status_code, **answered.json()}


async def test_a_denied_call_is_an_event_without_an_intent_and_an_answer(cashier: Talking) -> None:
    reply = (await ask(cashier.mesh, 'use refund {"amount": 2000}', agent="cashier")).json()
    assert "denied by the rule 'refund when amount > 1000'" in reply["answer"]
    (step,) = [step for step in reply["steps"] if step["kind"] == "tool"]
    assert (step["name"], step["status"], step["failure"]["error"]) == ("refund", "failed", "denied")
    kinds = await proven(cashier.mesh, reply["run_id"])
    assert "tool_intended" not in kinds
    assert kinds.count("tool_failed") == 1
    reply = (await ask(cashier.mesh, 'use refund {"amount": 200}', agent="cashier")).json()
    assert reply["answer"] == "It is paid 200 back."
    denied = await by_hand(cashier, "refund", amount=2000)
    assert denied["status"] == 403
    assert "not permitted" in denied["detail"]


async def test_a_long_result_is_cut_for_the_model_and_whole_for_whoever_asks(cashier: Talking) -> None:
    reply = (await ask(cashier.mesh, 'use orders {"customer": "Ann"}', agent="cashier")).json()
    assert "[cut: these are the first 2000 of" in reply["answer"]
    assert 'read_result with {"path":"2.1","start":2000} reads on]' in reply["answer"]
    (step,) = [step for step in reply["steps"] if step["kind"] == "tool"]
    assert step["whole_bytes"] > 5_000
    whole = (await cashier.mesh.client.get(f"/v1/runs/{reply['run_id']}/results/2.1")).json()
    assert (whole["cut"], whole["output"].count('"customer":"Ann"')) == (True, 200)
    await proven(cashier.mesh, reply["run_id"])
    again = (await ask(cashier.mesh, 'use orders {"customer": "Ann"}', agent="cashier")).json()
    assert [step.get("cached") for step in again["steps"] if step["kind"] == "tool"] == [True]
    assert "whole_bytes" in str(again["steps"])
    assert str(whole["characters"]) in str(await events_of(cashier.mesh, again["run_id"]))


async def test_a_function_runs_apart_and_its_bounds_are_described(cashier: Talking) -> None:
    here = (await by_hand(cashier, "orders", customer="Bob"))["result"][0]["pid"]
    assert (await by_hand(cashier, "report"))["result"] not in (here, (await by_hand(cashier, "report"))["result"])
    described = (await cashier.mesh.client.get("/v1/tools/cashier/report")).json()
    assert described["effect"] == "read"
    assert described["declared"] == {"isolation": {"process": True, "memory_mb": 256, "cpu_seconds": 10}}
    assert len(described["version"]) == 12
    assert (await cashier.mesh.client.get("/v1/tools/cashier/nothing")).status_code == 404


async def test_a_write_that_is_killed_in_the_middle_is_unknown_until_somebody_settles_it(cashier: Talking) -> None:
    wire = {
        "name": "wire",
        "type": "internal",
        "function": "till:wire",
        "isolation": {"cpu_seconds": 1},
        "timeout_seconds": 20,
    }
    async with made_agent(cashier, [cashier.model.endpoint], tools=[wire]) as agent:
        run_id = await start(cashier.mesh, 'use wire {"amount": 5}', agent=agent)
        waiting = await settled(cashier.mesh, run_id)
        assert (waiting["status"], waiting["waiting_path"]) == ("needs-human", "2.1")
        body = {"path": "2.1", "outcome": "succeeded", "result": "it was paid"}
        assert (await cashier.mesh.client.post(f"/v1/runs/{run_id}/resolve", json=body)).status_code in (200, 202)
        ended = await until_status(cashier.mesh, run_id, "completed")
        assert ended["answer"] == "It is it was paid."
        assert "tool_outcome_unknown" in await proven(cashier.mesh, run_id)
