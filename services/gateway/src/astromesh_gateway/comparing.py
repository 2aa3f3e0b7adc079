"""What two runs have in common, step by step. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NotRequired

from typing_extensions import TypedDict

from astromesh.v1.runs_pb2 import STEP_KIND_MODEL, Run, Step
from astromesh_core.events.runs import STATUS_NAMES
from astromesh_gateway.replies import NANOS, StepReply, step_reply
from astromesh_gateway.shown import moment, shown

_TOLD = ("kind", "name", "status", "input", "output", "failure")
"""What makes two steps differ: neither when nor how long, nor what ids a model gave its calls."""


class SideReply(TypedDict):
    """One of the two runs."""

    run_id: str
    agent: str
    status: str
    query: str
    answer: str | None
    models: list[str]
    steps: int
    input_tokens: int
    output_tokens: int
    cost: float
    duration_ms: float
    requested_at: str


class StepPairReply(TypedDict):
    """The steps at one path: what differs of them by name, `same` where nothing does; one side where the other run has
    none there."""

    path: str
    same: bool
    differs: list[str]
    a: NotRequired[StepReply]
    b: NotRequired[StepReply]


class DiffReply(TypedDict):
    """Two runs beside each other. `differs` names what of question, answer, status and steps is not the same;
    `first_difference` is the path of the first step that differs, empty where none does."""

    a: SideReply
    b: SideReply
    differs: list[str]
    first_difference: str
    steps: list[StepPairReply]


def compare(a: Run, b: Run) -> DiffReply:
    """The runs by their steps' paths, in order. Contents have to be fetched before."""
    pairs = list(_pairs(a.steps, b.steps))
    first = next((pair["path"] for pair in pairs if not pair["same"]), "")
    left, right = _side(a), _side(b)
    differs = [name for name in ("agent", "query", "answer", "status") if left[name] != right[name]]
    return DiffReply(
        a=left, b=right, differs=[*differs, *(["steps"] if first else [])], first_difference=first, steps=pairs
    )


def _pairs(a: Iterable[Step], b: Iterable[Step]) -> Iterable[StepPairReply]:
    left, right = ({step.path: step for step in steps} for steps in (a, b))
    for path in sorted(left.keys() | right.keys(), key=_order):
        pair = StepPairReply(path=path, same=False, differs=[])
        if path in left:
            pair["a"] = step_reply(left[path])
        if path in right:
            pair["b"] = step_reply(right[path])
        pair["differs"] = _differs(pair.get("a"), pair.get("b"))
        pair["same"] = not pair["differs"]
        yield pair


def _differs(a: Mapping[str, object] | None, b: Mapping[str, object] | None) -> list[str]:
    if a is None or b is None:
        return ["step"]
    return [name for name in _TOLD if a.get(name) != b.get(name)]


def _order(path: str) -> list[int]:
    return [int(part) for part in path.split(".")]


def _side(run: Run) -> SideReply:
    models = dict.fromkeys(step.name for step in run.steps if step.kind == STEP_KIND_MODEL and step.name)
    ended = run.ended_unix_nano or run.started_unix_nano or run.requested_unix_nano
    return SideReply(
        run_id=run.run_id,
        agent=run.agent,
        status=STATUS_NAMES.get(run.status, "queued"),
        query=shown(run.query),
        answer=shown(run.answer) if run.HasField("answer") else None,
        models=list(models),
        steps=len(run.steps),
        input_tokens=run.usage.input_tokens,
        output_tokens=run.usage.output_tokens,
        cost=run.cost_nanos / NANOS,
        duration_ms=(ended - run.requested_unix_nano) / 1e6,
        requested_at=moment(run.requested_unix_nano),
    )
