"""Deciding what runs ask: who may, and that a decision lost on its way is told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.values_pb2 import ToolCall
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import Denied
from astromesh_core.events.contents import text_content
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.approvals import require_approver
from astromesh_testing.nats import NatsServer
from astromesh_testing.scripted_runtime import ScriptedRun

from .conftest import Mesh, mesh_on
from .test_auth import bearer, put_keys

CALL = ToolCall(id="c1", name="pay", arguments=text_content('{"amount": 900}'))
SHA256 = b"\x07" * 32


@pytest.fixture
async def guarded(nats: NatsServer, bus: Bus, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A gateway with a key of each role."""
    await put_keys(bus, ann="admin", uma="user", vic="viewer")
    async with mesh_on(nats, bus, tmp_path) as running:
        yield running


async def asks(run: ScriptedRun) -> None:
    """Asks an admin, and does as the first decision says."""
    await run.start()
    asked = ev.ApprovalRequested(path="2.1", effect_sha256=SHA256, call=CALL, role="admin")
    waits = ev.Suspended(reason=ev.SUSPENSION_REASON_APPROVAL, path="2.1")
    await run.append(ev.RunEvent(approval_requested=asked), ev.RunEvent(suspended=waits))
    signal = await run.signals.get()
    decided = ev.ApprovalDecided(path="2.1", effect_sha256=SHA256, approved=signal.decide.approved, principal="first")
    await run.append(ev.RunEvent(approval_decided=decided), signal_id=signal.id)
    await run.append(ev.RunEvent(resumed=ev.Resumed(reason=ev.SUSPENSION_REASON_APPROVAL, path="2.1")))
    await run.complete("done")


async def decide(mesh: Mesh, run_id: str, who: str, **body: Any) -> int:
    response = await mesh.client.post(f"/v1/approvals/{run_id}/2.1", json=body, headers=bearer(who))
    return response.status_code


async def test_only_the_declared_role_decides_and_viewers_only_look(guarded: Mesh) -> None:
    guarded.runtime.script = asks
    asked = await guarded.client.post("/v1/agents/agent/run", json={"query": "x"}, headers=bearer("uma"))
    assert (asked.status_code, asked.json()["approvals"][0]["role"]) == (202, "admin")
    run_id = asked.json()["run_id"]
    listed = await guarded.client.get("/v1/approvals", headers=bearer("vic"))
    assert listed.status_code == 200
    assert await decide(guarded, run_id, "vic", decision="approve") == 403
    assert await decide(guarded, run_id, "uma", decision="approve") == 403
    assert await decide(guarded, run_id, "ann", decision="approve", sha256="00" * 32) == 409
    assert await decide(guarded, run_id, "ann", decision="approve", sha256=SHA256.hex()) == 200


async def test_of_two_decisions_at_once_the_one_that_came_second_is_refused(guarded: Mesh) -> None:
    guarded.runtime.script = asks
    asked = await guarded.client.post("/v1/agents/agent/run", json={"query": "x"}, headers=bearer("uma"))
    run_id = asked.json()["run_id"]
    answers = await asyncio.gather(
        *(decide(guarded, run_id, "ann", decision=word) for word in ("approve", "deny", "approve"))
    )
    assert sorted(answers) in ([200, 200, 409], [200, 409, 409])


@pytest.mark.parametrize(
    ("declared", "allowed"),
    [
        ({}, True),
        ({"approval": "always"}, True),
        ({"approval": "always", "approval_role": "admin"}, False),
        ({"approval": "when: amount > 1000", "approval_role": "admin"}, True),
        ({"approval": "when: total > 1000", "approval_role": "admin"}, False),
    ],
)
def test_who_calls_a_tool_by_hand_has_to_be_one_who_could_approve_it(declared: dict[str, Any], allowed: bool) -> None:
    uma, ann = Caller("uma", "default", "user"), Caller("ann", "default", "admin")
    require_approver(ann, declared, {"amount": 900})
    if allowed:
        require_approver(uma, declared, {"amount": 900})
    else:
        with pytest.raises(Denied, match="admin"):
            require_approver(uma, declared, {"amount": 900})
