"""`runs replay` and `runs verify`: proof that a run did what its log says, and that nobody changed the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

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


def replay(call: Call, run_id: RunId) -> None:
    """Re-executes a run from its recorded outcomes, with no model, tool or network, and compares every event."""
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.proofs import print_replay
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        verdict = cast("ReplayReply", mesh.post(f"/v1/runs/{run_id}/replay", seconds=_SECONDS))
    if call.as_json:
        print_json(verdict)
    else:
        print_replay(verdict)
    if not verdict["identical"]:
        raise Failed(f"the replay of run {run_id} differs from what is recorded")


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
