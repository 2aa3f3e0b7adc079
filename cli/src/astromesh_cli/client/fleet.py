"""Replaying every run that fits, several at a time, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from rich.text import Text
from typing_extensions import TypedDict

from astromesh_cli.client.failures import Refused
from astromesh_cli.client.terminal import BAD, GOOD, QUIET, milliseconds, out

if TYPE_CHECKING:
    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.routes.runs import DifferenceReply, ReplayReply, RunPage

_AT_ONCE = 4
_PAGE = 500
_SECONDS = 180.0


class DifferentReply(TypedDict):
    """A run whose replay differs, and where first."""

    run_id: str
    agent: str
    difference: DifferenceReply | None


class FailedReply(TypedDict):
    """A run that could not be replayed, and why."""

    run_id: str
    agent: str
    reason: str


class FleetReply(TypedDict):
    """What came of replaying many runs."""

    runs: int
    identical: int
    different: list[DifferentReply]
    failed: list[FailedReply]
    events: int
    duration_ms: float


def replay_fleet(mesh: MeshClient, wanted: Mapping[str, str]) -> FleetReply:
    """Replays every run that fits."""
    fleet = FleetReply(runs=0, identical=0, different=[], failed=[], events=0, duration_ms=0.0)
    begun = time.perf_counter()

    def one(run: tuple[str, str]) -> tuple[str, str, ReplayReply | str]:
        try:
            return *run, cast("ReplayReply", mesh.post(f"/v1/runs/{run[0]}/replay", seconds=_SECONDS))
        except Refused as error:
            return *run, error.message

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for run_id, agent, verdict in pool.map(one, _runs(mesh, wanted)):
            fleet["runs"] += 1
            if isinstance(verdict, str):
                fleet["failed"].append(FailedReply(run_id=run_id, agent=agent, reason=verdict))
                continue
            fleet["events"] += verdict["events"]
            if verdict["identical"]:
                fleet["identical"] += 1
            else:
                fleet["different"].append(DifferentReply(run_id=run_id, agent=agent, difference=verdict["difference"]))
    fleet["duration_ms"] = (time.perf_counter() - begun) * 1e3
    return fleet


def print_fleet(fleet: FleetReply) -> None:
    """Each run that differs, and a line for all."""
    for run in fleet["different"]:
        difference = run["difference"]
        place = f"event {difference['index']}, step {difference['path'] or '-'}" if difference else "nobody knows where"
        out().print(Text.assemble((f"✗ {run['run_id']}", BAD), f"  {run['agent']}: differs first at {place}"))
    for run in fleet["failed"]:
        out().print(Text.assemble((f"✗ {run['run_id']}", BAD), f"  {run['agent']}: {run['reason']}"))
    whole = fleet["identical"] == fleet["runs"]
    line = Text(
        f"{'✓' if whole else '✗'} {fleet['identical']} of {fleet['runs']} runs identical", GOOD if whole else BAD
    )
    line.append(f"  {fleet['events']} events re-executed in {milliseconds(fleet['duration_ms'])}", QUIET)
    out().print(line)


def _runs(mesh: MeshClient, wanted: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    token = ""
    while True:
        page = cast("RunPage", mesh.get("/v1/runs", {**wanted, "page_size": _PAGE, "page_token": token}))
        yield from ((run["run_id"], run["agent"]) for run in page["runs"])
        token = page["next_page_token"]
        if not token:
            return
