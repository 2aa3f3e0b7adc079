"""`runs replay` and `runs verify`: proof that a run did what its log says, and that nobody changed the log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.commands.runs import RunId

if TYPE_CHECKING:
    from astromesh_gateway.routes.runs import ReplayReply, VerifyReply

_SECONDS = 180.0


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "replay")(replay)
    client_command(app, "verify")(verify)


def replay(
    call: Call,
    run_id: Annotated[str, typer.Argument(help="The run's id; none with --all.", metavar="[RUN_ID]")] = "",
    every: Annotated[
        bool, typer.Option("--all", help="Every run that fits: before a new release is deployed.")
    ] = False,
    since: Annotated[str, typer.Option(help="With --all: since 2026-03-01, an ISO 8601 time, or 90m, 12h, 7d.")] = "",
    agent: Annotated[str, typer.Option(help="With --all: of this agent.")] = "",
) -> None:
    """Re-executes a run from its recorded outcomes, with no model, tool or network, and compares every event."""
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.proofs import print_replay
    from astromesh_cli.client.terminal import print_json

    if bool(run_id) == every or (not every and (since or agent)):
        raise typer.BadParameter("name a run, or --all with --since and --agent")
    if every:
        _replay_all(call, since, agent)
        return
    with call.connect() as mesh:
        verdict = cast("ReplayReply", mesh.post(f"/v1/runs/{run_id}/replay", seconds=_SECONDS))
    if call.as_json:
        print_json(verdict)
    else:
        print_replay(verdict)
    if not verdict["identical"]:
        raise Failed(f"the replay of run {run_id} differs from what is recorded")


def _replay_all(call: Call, since: str, agent: str) -> None:
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.fleet import print_fleet, replay_fleet
    from astromesh_cli.client.terminal import print_json
    from astromesh_cli.commands.costs import moment

    wanted = {"agent": agent, "from": moment(since, datetime.now(UTC)).isoformat() if since else ""}
    with call.connect() as mesh:
        fleet = replay_fleet(mesh, {name: value for name, value in wanted.items() if value})
    if call.as_json:
        print_json(fleet)
    else:
        print_fleet(fleet)
    if fleet["different"] or fleet["failed"]:
        raise Failed(
            f"{len(fleet['different']) + len(fleet['failed'])} of {fleet['runs']} runs did not replay identically"
        )


def verify(call: Call, run_id: RunId) -> None:
    """Checks the hash chain of a run's events: none is missing, added or changed."""
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.proofs import print_verdict
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        verdict = cast("VerifyReply", mesh.post(f"/v1/runs/{run_id}/verify", seconds=_SECONDS))
    if call.as_json:
        print_json(verdict)
    else:
        print_verdict(verdict)
    if not verdict["ok"]:
        raise Failed(f"the chain of run {run_id} is broken at event {verdict['broken_at']}: {verdict['reason']}")
