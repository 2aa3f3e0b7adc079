"""`runs replay`, `verify` and `diff`: proof that runs did what their log says, and what two of them have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import Exit
from astromesh_cli.commands.runs import RunId

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_gateway.comparing import DiffReply
    from astromesh_gateway.routes.runs import ReplayReply, VerifyReply

_SECONDS = 180.0


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "replay")(replay)
    client_command(app, "verify")(verify)
    client_command(app, "fork")(fork)
    client_command(app, "diff")(diff)


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


def fork(  # noqa: PLR0913 - each is an option of the command
    call: Call,
    run_id: RunId,
    at: Annotated[
        int | None, typer.Option(min=0, help="The last event that is shared; else the question alone.")
    ] = None,
    query: Annotated[str, typer.Option(help="Another question.")] = "",
    prompt: Annotated[str, typer.Option(help="Another system prompt; @FILE reads it from a file.")] = "",
    model: Annotated[str, typer.Option(help="Another model of the agent's provider, or of --provider.")] = "",
    provider: Annotated[str, typer.Option(help="Another provider.")] = "",
    endpoint: Annotated[str, typer.Option(help="Another endpoint.")] = "",
    result: Annotated[list[str] | None, typer.Option(help="PATH=TEXT: what a tool is said to have answered.")] = None,
    current: Annotated[bool, typer.Option("--current", help="With the agent as it is now, not as it was.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Tools that change the world are called, not simulated.")
    ] = False,
) -> None:
    """Runs on from an event of a run, with something changed: what would change the world is simulated."""
    from astromesh_cli.client.forks import completed_fork
    from astromesh_cli.client.terminal import print_json, tell
    from astromesh_cli.client.timeline import print_run
    from astromesh_cli.commands.runs import all_events

    named = {"provider": provider, "model": model, "endpoint": endpoint}
    changed: dict[str, JsonValue] = {name: value for name, value in named.items() if value}
    body: dict[str, JsonValue] = {
        "at": at,
        "query": query,
        "prompt": _text_of(prompt),
        "model": changed or None,
        "agent_version": "current" if current else "recorded",
        "tool_results": dict(_result(each) for each in result or []),
        "live": live,
    }
    with call.connect() as mesh:
        run = completed_fork(mesh, run_id, body)
        if call.as_json:
            print_json(run)
        else:
            print_run(run, all_events(mesh, run["run_id"]))
            tell(f"compare them with: astromesh runs diff {run_id} {run['run_id']}")
    if run["status"] != "completed":
        raise typer.Exit(Exit.FAILED if run["status"] in ("failed", "cancelled", "compensated") else Exit.LATER)


def _text_of(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error}", param_hint="--prompt") from None


def _result(text: str) -> tuple[str, str]:
    path, equals, output = text.partition("=")
    if not equals or not path:
        raise typer.BadParameter(f"{text!r} is not PATH=TEXT, such as 2.1=42", param_hint="--result")
    return path, output


def diff(
    call: Call,
    a: Annotated[str, typer.Argument(help="A run's id.", metavar="A")],
    b: Annotated[str, typer.Argument(help="Another's.", metavar="B")],
) -> None:
    """Puts two runs beside each other, step by step: what they asked for, what came of it, what it cost."""
    from astromesh_cli.client.looking_back import print_diff
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        found = cast("DiffReply", mesh.get(f"/v1/runs/{a}/diff/{b}"))
    if call.as_json:
        print_json(found)
    else:
        print_diff(found)


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
