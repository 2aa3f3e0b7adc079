"""Parts of a run as the messages that callers get: the names are fixed, the same for SSE and WebSocket.

token        {run_id, text, path}                          not stored, so without an index
reasoning    {run_id, text, path}                          what the model thinks: no part of the answer, not made up for
restart      {run_id, path, reason?}                       forget the text since the last step: a new attempt begins
tool_progress  {run_id, path, progress, total?}            how far a tool of a server has come; not stored
tool_call    {run_id, index, path, id, name, arguments}    a tool is about to be called
tool_result  {run_id, index, path, id, name, status, ok, output | failure}
step         {run_id, index, event, status, step?}         every other stored event; `step` where it is of an effect,
                                                           `approval` where a human is asked or has decided
(of a child) {run_id, child: {run_id, agent, parent_run_id, path}, …}    tool_call, tool_result and step of a run that
                                                           this one started, or one below; without an index
done         {…, index}                                    the run as the plain call answers it
error        problem document with run_id, index           the run ended without an answer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import orjson
from pydantic import JsonValue

from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, STEP_STATUS_SUCCEEDED, Run, Step
from astromesh.v1.signal_pb2 import ToolProgress
from astromesh_core.events.human_steps import asked
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL
from astromesh_core.problems import problem
from astromesh_gateway.approval_replies import approval_reply
from astromesh_gateway.following import Part, Told, ToldOfChild
from astromesh_gateway.replies import failure_error, run_reply, step_reply
from astromesh_gateway.shown import shown
from astromesh_gateway.tokens import Restart, Thought, Token

Data = dict[str, JsonValue]

_ASKING = frozenset({"approval_requested", "approval_decided", "question_asked", "question_answered"})

_RESULTS = frozenset({"tool_succeeded", "tool_failed", "tool_outcome_unknown", "child_finished"})


@dataclass(frozen=True, slots=True)
class Update:
    """One message to a caller. `index` is the position to resume from, None where there is none."""

    name: str
    data: Data
    index: int | None = None


def update_of(part: Part, run_id: str) -> Update:
    """The message that a part becomes."""
    if isinstance(part, Token):
        return Update("token", {"run_id": run_id, "text": part.text, "path": part.path})
    if isinstance(part, Thought):
        return Update("reasoning", {"run_id": run_id, "text": part.text, "path": part.path})
    if isinstance(part, Restart):
        reason: Data = {"reason": part.reason} if part.reason else {}
        return Update("restart", {"run_id": run_id, "path": part.path, **reason})
    if isinstance(part, ToldOfChild):
        return _of_child(part, run_id)
    if isinstance(part, ToolProgress):
        total: Data = {"total": part.total} if part.total else {}
        return Update("tool_progress", {"run_id": run_id, "path": part.path, "progress": part.progress, **total})
    return _stored(part)


def done(run: Run) -> Update:
    """The last message of a run that completed, or that waits."""
    return Update("done", cast("Data", run_reply(run)))


def failed(run: Run) -> Update:
    """The last message of a run that ended without an answer."""
    return Update("error", cast("Data", problem(failure_error(run), run_id=run.run_id)))


def _stored(told: Told) -> Update:
    run, event = told.run, told.envelope.run
    place: Data = {"run_id": run.run_id, "index": told.index}
    if run.status in TERMINAL:
        last = done(run) if run.status == RUN_STATUS_COMPLETED else failed(run)
        return Update(last.name, {**last.data, **place}, told.index)
    name, data = _of_event(event, run)
    return Update(name, {**place, **data}, told.index)


def _of_child(told: ToldOfChild, run_id: str) -> Update:
    run = told.run
    child: Data = {
        "run_id": run.run_id,
        "agent": run.agent,
        "parent_run_id": run.parent_run_id,
        "path": run.parent_path,
    }
    name, data = _of_event(told.envelope.run, run)
    return Update(name, {"run_id": run_id, "child": child, **data})


def _of_event(event: RunEvent, run: Run) -> tuple[str, Data]:
    kind = event.WhichOneof("event") or ""
    path = _path(event, kind)
    step = next((step for step in run.steps if step.path == path), None) if path else None
    if kind == "tool_intended":
        return "tool_call", _call(event)
    if kind == "child_started" and event.child_started.HasField("call"):
        return "tool_call", _asked(event)
    if step is not None and (kind == "tool_result_checked" or (kind in _RESULTS and not awaits_check(step))):
        return "tool_result", _result(event, step)
    return "step", _other(kind, path, run, step)


def awaits_check(step: Step) -> bool:
    """Whether what came of a call is not told yet, for the agent's rules have to look at it first."""
    return not step.HasField("output") and not step.failure.HasField("message")


def _path(event: RunEvent, kind: str) -> str:
    return str(getattr(getattr(event, kind), "path", "")) if kind else ""


def _call(event: RunEvent) -> Data:
    intended = event.tool_intended
    return {
        "path": intended.path,
        "id": intended.call.id,
        "name": intended.call.name,
        "arguments": _parsed(shown(intended.call.arguments)),
        "attempt": intended.attempt,
    }


def _asked(event: RunEvent) -> Data:
    started = event.child_started
    return {
        "path": started.path,
        "id": started.call.id,
        "name": started.call.name,
        "arguments": _parsed(shown(started.call.arguments)),
        "attempt": 1,
        "child_run_id": started.child_run_id,
    }


def _result(event: RunEvent, step: Step) -> Data:
    reply = step_reply(step)
    data: Data = {
        "path": step.path,
        "id": event.tool_succeeded.result.tool_call_id or event.tool_result_checked.tool_call_id,
        "name": step.name,
        "status": reply["status"],
        "ok": step.status == STEP_STATUS_SUCCEEDED,
    }
    if "output" in reply:
        data["output"] = reply["output"]
    if "failure" in reply:
        data["failure"] = cast("Data", reply["failure"])
    if "duration_ms" in reply:
        data["duration_ms"] = reply["duration_ms"]
    if "child_run_id" in reply:
        data["child_run_id"] = reply["child_run_id"]
    return data


def _other(kind: str, path: str, run: Run, step: Step | None) -> Data:
    data: Data = {"event": kind, "status": STATUS_NAMES[run.status]}
    if step is not None:
        data["step"] = cast("Data", step_reply(step))
    approval = asked(run, path) if kind in _ASKING else None
    if approval is not None:
        data["approval"] = cast("Data", approval_reply(run.run_id, approval))
    if run.waiting_for:
        data["waiting_for"] = run.waiting_for
        data["waiting_path"] = run.waiting_path
    return data


def _parsed(text: str) -> JsonValue:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
