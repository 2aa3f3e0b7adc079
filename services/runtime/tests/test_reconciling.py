"""Writes without an answer are looked up where their tool says how; where that settles nothing, a human does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astromesh.v1 import values_pb2 as values
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_core.service import Platform
from astromesh_runtime import executing, tool_calls
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices

LOOK = {"name": "status", "type": "internal", "function": "m:g", "effect": "read"}
RECONCILE = {
    "tool": "status",
    "arguments": {"key": "{{ idempotency_key }}", "a": "{{ a }}"},
    "succeeded": "answer.state == 'done' and arguments.a == 1",
    "failed": "answer.state == 'none'",
    "attempts": 3,
    "pause_seconds": 0,
}


def agent(**more: Any) -> dict[str, Any]:
    act = {"name": "act", "type": "internal", "function": "m:f", "reconcile": {**RECONCILE, **more}}
    return {"tools": [act, LOOK]}


def states(*found: str | None) -> Any:
    """A write that is never answered, and what its state is each time that it is looked up; None: nobody says."""
    left = iter(found)

    async def execute(request: ExecuteToolRequest) -> ExecuteToolResponse:
        if request.call.name == "act":
            raise TimedOut("the connection broke")
        state = next(left)
        if state is None:
            raise Unavailable("away")
        output = text_content(json.dumps({"state": state, "asked": json.loads(request.call.arguments.text)}))
        return ExecuteToolResponse(result=ToolResult(output=output))

    return execute


@pytest.fixture
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intents that nobody may act on a moment later."""
    for module in (executing, tool_calls):
        monkeypatch.setattr(module, "START_WITHIN_NANO", 50_000_000)


def prepared(services: FakeServices, execute: Any) -> None:
    services.tools.execute = execute
    services.tools.specs = (
        ToolSpec(name="act", effect=values.TOOL_EFFECT_KIND_WRITE, timeout_ms=50),
        ToolSpec(name="status", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=500),
    )


async def test_a_write_that_was_done_is_found_and_never_made_again(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    prepared(services, states("pending", None, "done"))
    await put_agent(bus, **agent())
    run = await admit(bus)
    events = await events_until(bus, run, "suspended")
    assert kinds(events)[-1] == "completed"
    assert [call.call.name for call in services.tools.calls] == ["act", "status", "status", "status"]
    assert json.loads(services.tools.calls[1].call.arguments.text) == {"key": f"{run.id}:2.1", "a": 1}
    found = next(event.envelope.run.tool_succeeded for event in events if event.envelope.run.HasField("tool_succeeded"))
    assert found.resolved_by == "reconciled by status"
    assert "tool_outcome_unknown" in kinds(events)
    assert replay([event.envelope for event in events]).identical


@pytest.mark.usefixtures("short_lived")
async def test_that_it_was_not_done_is_believed_once_nobody_can_do_it_any_more(
    bus: Bus, services: FakeServices, worker: Platform
) -> None:
    prepared(services, states("none", "none", "none"))
    await put_agent(bus, **agent())
    events = await events_until(bus, await admit(bus), "suspended")
    assert kinds(events)[-1] == "completed"
    tried = [event.envelope for event in events if event.envelope.run.HasField("step_reconciled")]
    failed = next(event.envelope for event in events if event.envelope.run.HasField("tool_failed"))
    intent = next(event.envelope.run.tool_intended for event in events if event.envelope.run.HasField("tool_intended"))
    assert tried[-1].run.step_reconciled.timing.start_unix_nano >= intent.start_before_unix_nano + 50_000_000
    assert "was not done" in failed.run.tool_failed.failure.message.text


@pytest.mark.usefixtures("short_lived")
async def test_what_settles_nothing_is_put_to_a_human(bus: Bus, services: FakeServices, worker: Platform) -> None:
    prepared(services, states("pending", "pending"))
    await put_agent(bus, **agent(attempts=2))
    events = await events_until(bus, await admit(bus), "suspended")
    assert kinds(events)[-4:] == ["tool_outcome_unknown", "step_reconciled", "step_reconciled", "suspended"]
    assert [call.call.name for call in services.tools.calls].count("act") == 1
