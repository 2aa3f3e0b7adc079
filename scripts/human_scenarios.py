"""Runs that ask humans, that look up what became of a write, and that are undone, to be recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from history_scenario import After, Scenario

from astromesh.v1 import values_pb2 as values
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.signal_pb2 import (
    RESOLVED_OUTCOME_FAILED,
    AnswerSignal,
    CancelSignal,
    DecideSignal,
    ResolveSignal,
    Signal,
)
from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import Failure, ToolCall, ToolResult, ToolSpec
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_testing.services import completion, one_tool, succeeds

WRITE, IDEMPOTENT, READ = (
    values.TOOL_EFFECT_KIND_WRITE,
    values.TOOL_EFFECT_KIND_IDEMPOTENT,
    values.TOOL_EFFECT_KIND_READ,
)


def _declared(name: str, effect: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "internal", "function": f"shop:{name}", "effect": effect, **more}


def _sends(**bodies: Any) -> After:
    """Sends these signals, each once the run waits for it."""

    async def after(bus: Bus, run: Aggregate) -> None:
        for name, (kind, message) in bodies.items():
            while not await _waits(bus, run, getattr(message, "path", "")):  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.05)
            await bus.signals.send("default", Signal(id=name, aggregate_id=run.id, principal="ann", **{kind: message}))

    return after


async def _waits(bus: Bus, run: Aggregate, path: str) -> bool:
    """Whether the run has been suspended, for something at the path where one is named."""
    events = [event.envelope.run for event in (await bus.log.read(run)).events]
    paths = {event.approval_requested.path for event in events} | {event.question_asked.path for event in events}
    paths |= {event.suspended.path for event in events if event.HasField("suspended")}
    return any(event.HasField("suspended") for event in events) and (not path or path in paths)


async def _two_calls(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Two writes in one step, then an answer."""
    if any(message.tool_calls for message in request.messages):
        yield completion("done")
        return
    calls = [ToolCall(id=f"c{n}", name="pay", arguments=text_content(f'{{"n": {n}}}')) for n in (1, 2)]
    yield completion("", *calls)


async def _asks(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Two questions, then an answer."""
    asked = sum(1 for message in request.messages if message.tool_calls)
    if asked == 2:
        yield completion("so be it")
        return
    question = json.dumps({"question": "which one?", "choices": ["red", "blue"]})
    yield completion("", ToolCall(id=f"c{asked}", name="ask_human", arguments=text_content(question)))


async def _acts_twice_then_fails(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Two writes one after the other, and no model any more."""
    rounds = sum(1 for message in request.messages if message.tool_calls)
    if rounds == 2:
        raise Unavailable("no provider answered")
    yield completion("", ToolCall(id=f"c{rounds}", name="pay", arguments=text_content(f'{{"n": {rounds}}}')))


async def _undo_is_refused(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """What undoes the second step never can; that of the first one can at its second attempt."""
    if request.call.name == "undo" and (request.path == "4.1" or _first_time(request)):
        return ExecuteToolResponse(failure=Failure(error_class="denied", message=text_content("closed")))
    return await succeeds(request)


_tried = set[str]()


def _first_time(request: ExecuteToolRequest) -> bool:
    first = request.idempotency_key not in _tried
    _tried.add(request.idempotency_key)
    return first


async def _found_later(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """A write without an answer, that was done as the second look finds."""
    if request.call.name == "pay":
        raise TimedOut("the connection broke")
    state = "done" if _first_time(request) and request.idempotency_key.endswith(":2") else "pending"
    return ExecuteToolResponse(result=ToolResult(output=text_content(json.dumps({"state": state}))))


def _approved(path: str = "2.1", *, approved: bool = True, **more: Any) -> tuple[str, DecideSignal]:
    return "decide", DecideSignal(path=path, approved=approved, **more)


def _answered(path: str, text: str, *, declined: bool = False) -> tuple[str, AnswerSignal]:
    return "answer", AnswerSignal(path=path, answer=text_content(text), declined=declined)


def human_scenarios() -> dict[str, Scenario]:
    """By the name of their file."""
    pay = _declared("pay", "write", approval="always")
    edited = _approved(edited_arguments=text_content('{"a": 2}'), comment=text_content("less"))
    undoing = {"tools": [_declared("pay", "write", compensate={"tool": "undo"}), _declared("undo", "idempotent")]}
    undoing["tools"][0]["compensate"]["pause_seconds"] = 0.01
    looked_up = {"tool": "look", "succeeded": "answer.state == 'done'", "pause_seconds": 0.01}
    stuck = ("resolve", ResolveSignal(path="4.1", outcome=RESOLVED_OUTCOME_FAILED))
    found = {
        "approved-edited": Scenario(spec={"tools": [pay]}, after=_sends(d1=edited)),
        "approval-denied": Scenario(
            spec={"tools": [pay]}, after=_sends(d1=_approved(approved=False, comment=text_content("too dear")))
        ),
        "approval-expired": Scenario(spec={"tools": [{**pay, "approval_timeout_seconds": 0.2}]}),
        "approvals-of-a-step": Scenario(
            spec={"tools": [pay]}, after=_sends(d2=_approved("2.2", approved=False), d1=_approved("2.1"))
        ),
        "approval-cancelled": Scenario(spec={"tools": [pay]}, after=_sends(stop=("cancel", CancelSignal()))),
        "questions": Scenario(
            spec={"tools": [{"name": "ask_human", "type": "builtin"}]},
            after=_sends(a1=_answered("2.1", "blue"), a2=_answered("4.1", "enough", declined=True)),
        ),
        "reconciled": Scenario(
            spec={"tools": [_declared("pay", "write", reconcile=looked_up), _declared("look", "read")]}
        ),
        "compensated": Scenario(spec=undoing),
        "compensation-left": Scenario(spec=undoing, after=_sends(r1=stuck)),
        "cancelled-compensated": Scenario(
            spec={"tools": [{**undoing["tools"][0], "approval": "when: n == 1"}, undoing["tools"][1]]},
            after=_sends(stop=("cancel", CancelSignal(reason="enough"))),
        ),
    }
    catalogue = tuple(
        ToolSpec(name=name, effect=effect, timeout_ms=1000)
        for name, effect in (("pay", WRITE), ("undo", IDEMPOTENT), ("look", READ))
    )
    for scenario in found.values():
        scenario.services.tools.specs = catalogue
        scenario.services.router.parts = one_tool
    found["approvals-of-a-step"].services.router.parts = _two_calls
    found["questions"].services.router.parts = _asks
    found["questions"].services.tools.specs = (ToolSpec(name="ask_human", effect=READ, type="builtin"),)
    found["reconciled"].services.tools.execute = _found_later
    for name in ("compensated", "compensation-left", "cancelled-compensated"):
        found[name].services.router.parts = _acts_twice_then_fails
    found["compensation-left"].services.tools.execute = _undo_is_refused
    return found
