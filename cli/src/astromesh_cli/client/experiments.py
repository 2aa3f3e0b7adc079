"""Past runs against a changed agent: each is forked from its question, and what came of both is put side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from statistics import median
from typing import TYPE_CHECKING, cast

from rich.text import Text
from typing_extensions import TypedDict

from astromesh_cli.client.failures import Refused
from astromesh_cli.client.forks import completed_fork
from astromesh_cli.client.terminal import BAD, GOOD, QUIET, WARN, Cell, milliseconds, out, shortened, table

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.comparing import DiffReply, SideReply

_AT_ONCE = 4
_QUESTION = 36


class TrialReply(TypedDict):
    """A past run and its fork. `likeness` of their answers is from 0 to 1, by the characters that they share in order;
    `error` says why there is no fork."""

    run_id: str
    fork_id: str
    query: str
    error: str
    likeness: float
    same_answer: bool
    first_difference: str
    before: SideReply | None
    after: SideReply | None


class ExperimentReply(TypedDict):
    """All trials, and what they come to. Medians are of the trials that have both sides."""

    trials: list[TrialReply]
    same_answers: int
    failed: int
    cost_before: float
    cost_after: float
    median_ms_before: float
    median_ms_after: float


def experiment(mesh: MeshClient, run_ids: Sequence[tuple[str, str]], body: Mapping[str, JsonValue]) -> ExperimentReply:
    """Forks each run (its id, and its question) from its beginning, and compares."""

    def trial(run: tuple[str, str]) -> TrialReply:
        return _trial(mesh, *run, body)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        trials = list(pool.map(trial, run_ids))
    befores = [side for each in trials if (side := each["before"]) is not None]
    afters = [side for each in trials if (side := each["after"]) is not None]
    return ExperimentReply(
        trials=trials,
        same_answers=sum(each["same_answer"] for each in trials),
        failed=sum(
            bool(each["error"]) or (side := each["after"]) is None or side["status"] != "completed" for each in trials
        ),
        cost_before=sum(side["cost"] for side in befores),
        cost_after=sum(side["cost"] for side in afters),
        median_ms_before=median([side["duration_ms"] for side in befores] or [0.0]),
        median_ms_after=median([side["duration_ms"] for side in afters] or [0.0]),
    )


def print_experiment(found: ExperimentReply) -> None:
    """A row for each trial, and the sums."""
    table(["RUN", "FORK", "ANSWER", "LIKENESS", "TOOK", "COST", "QUESTION"], [_row(each) for each in found["trials"]])
    count = len(found["trials"])
    line = Text(f"\n{found['same_answers']} of {count} answers are the same, {found['failed']} did not complete")
    line.append(
        f"  median {milliseconds(found['median_ms_before'])} → {milliseconds(found['median_ms_after'])}, "
        f"cost ${found['cost_before']:,.6f} → ${found['cost_after']:,.6f}",
        QUIET,
    )
    out().print(line)


def _trial(mesh: MeshClient, run_id: str, query: str, body: Mapping[str, JsonValue]) -> TrialReply:
    trial = TrialReply(
        run_id=run_id,
        fork_id="",
        query=query,
        error="",
        likeness=0.0,
        same_answer=False,
        first_difference="",
        before=None,
        after=None,
    )
    try:
        trial["fork_id"] = completed_fork(mesh, run_id, {**body, "at": 0})["run_id"]
        diff = cast("DiffReply", mesh.get(f"/v1/runs/{run_id}/diff/{trial['fork_id']}"))
    except Refused as error:
        trial["error"] = error.message
        return trial
    trial["before"], trial["after"] = diff["a"], diff["b"]
    trial["first_difference"] = diff["first_difference"]
    before, after = diff["a"]["answer"] or "", diff["b"]["answer"] or ""
    trial["same_answer"] = before == after
    trial["likeness"] = round(SequenceMatcher(None, before, after, autojunk=False).ratio(), 3)
    return trial


def _row(each: TrialReply) -> list[Cell]:
    before, after = each["before"], each["after"]
    if before is None or after is None:
        return [
            each["run_id"],
            "-",
            Text(shortened(each["error"], 60), BAD),
            "",
            "",
            "",
            shortened(each["query"], _QUESTION),
        ]
    told = Text("same", GOOD) if each["same_answer"] else Text("differs", WARN)
    if after["status"] != "completed":
        told = Text(after["status"], BAD)
    return [
        each["run_id"],
        each["fork_id"],
        told,
        f"{each['likeness']:.2f}",
        f"{milliseconds(before['duration_ms'])} → {milliseconds(after['duration_ms'])}",
        f"${before['cost']:,.6f} → ${after['cost']:,.6f}",
        shortened(each["query"], _QUESTION),
    ]
