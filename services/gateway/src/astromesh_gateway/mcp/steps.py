"""What a run does, in the words of a progress notification. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.runs_pb2 import Run
from astromesh_core.events.runs import FRAME_PATH, TERMINAL
from astromesh_gateway.following import Told


def said(told: Told) -> str:
    """What happened; "" for what says nothing to a caller, and for the end, whose answer follows."""
    event, run = told.envelope.run, told.run
    say = _SAYINGS.get(event.WhichOneof("event") or "")
    return say(event, run) if say is not None and run.status not in TERMINAL else ""


def _asks(event: RunEvent, run: Run) -> str:
    return "" if event.model_call_begun.path == FRAME_PATH else f"{run.agent} asks a model"


def _replied(event: RunEvent, run: Run) -> str:
    del run
    replied = event.model_replied
    return "" if replied.path == FRAME_PATH else f"{replied.charge.model or 'the model'} replied"


def _name(run: Run, path: str) -> str:
    return next((step.name for step in run.steps if step.path == path), "") or "a tool"


_SAYINGS: Final[dict[str, Callable[[RunEvent, Run], str]]] = {
    "requested": lambda _, run: f"run {run.run_id} is admitted",
    "started": lambda _, run: f"{run.agent} begins",
    "model_call_begun": _asks,
    "model_replied": _replied,
    "tool_intended": lambda event, run: f"{run.agent} calls {event.tool_intended.call.name}",
    "tool_succeeded": lambda event, run: f"{_name(run, event.tool_succeeded.path)} answered",
    "tool_failed": lambda event, run: f"{_name(run, event.tool_failed.path)} failed",
    "tool_result_checked": lambda event, run: f"what {_name(run, event.tool_result_checked.path)} answered is checked",
    "child_started": lambda _, run: f"{run.agent} asks another agent",
    "child_finished": lambda _, run: f"another agent answered {run.agent}",
    "suspended": lambda _, run: f"{run.agent} waits for {run.waiting_for or 'somebody'}",
    "resumed": lambda _, run: f"{run.agent} goes on",
}
