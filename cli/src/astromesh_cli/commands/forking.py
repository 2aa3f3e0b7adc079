"""`runs fork`, `diff` and `experiment`: other runs from the past of one, and what they come to beside it."""

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
    from astromesh_gateway.routes.runs import RunPage

Prompt = Annotated[str, typer.Option(help="Another system prompt; @FILE reads it from a file.")]
Model = Annotated[str, typer.Option(help="Another model of the agent's provider, or of --provider.")]
Provider = Annotated[str, typer.Option(help="Another provider.")]
Endpoint = Annotated[str, typer.Option(help="Another endpoint.")]
Current = Annotated[bool, typer.Option("--current", help="With the agent as it is now, not as it was.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "fork")(fork)
    client_command(app, "diff")(diff)
    client_command(app, "experiment")(experiment)


def fork(  # noqa: PLR0913 - each is an option of the command
    call: Call,
    run_id: RunId,
    at: Annotated[
        int | None, typer.Option(min=0, help="The last event that is shared; else the question alone.")
    ] = None,
    query: Annotated[str, typer.Option(help="Another question.")] = "",
    prompt: Prompt = "",
    model: Model = "",
    provider: Provider = "",
    endpoint: Endpoint = "",
    result: Annotated[list[str] | None, typer.Option(help="PATH=TEXT: what a tool is said to have answered.")] = None,
    current: Current = False,
    live: Annotated[
        bool, typer.Option("--live", help="Tools that change the world are called, not simulated.")
    ] = False,
) -> None:
    """Runs on from an event of a run, with something changed: what would change the world is simulated."""
    from astromesh_cli.client.forks import completed_fork
    from astromesh_cli.client.terminal import print_json, tell
    from astromesh_cli.client.timeline import print_run
    from astromesh_cli.commands.runs import all_events

    body = _changes(prompt, model, provider, endpoint, current=current)
    body |= {"at": at, "query": query, "live": live, "tool_results": dict(_result(each) for each in result or [])}
    with call.connect() as mesh:
        run = completed_fork(mesh, run_id, body)
        if call.as_json:
            print_json(run)
        else:
            print_run(run, all_events(mesh, run["run_id"]))
            tell(f"compare them with: astromesh runs diff {run_id} {run['run_id']}")
    if run["status"] != "completed":
        raise typer.Exit(Exit.FAILED if run["status"] in ("failed", "cancelled", "compensated") else Exit.LATER)


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


def experiment(  # noqa: PLR0913 - each is an option of the command
    call: Call,
    agent: Annotated[str, typer.Option(help="Whose runs.")],
    since: Annotated[str, typer.Option(help="Since 2026-03-01, an ISO 8601 time, or 90m, 12h, 7d.")] = "7d",
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=500)] = 20,
    prompt: Prompt = "",
    model: Model = "",
    provider: Provider = "",
    endpoint: Endpoint = "",
    current: Current = False,
) -> None:
    """Asks a changed agent what was asked before, and compares answers, time and cost; nothing in the world changes."""
    from astromesh_cli.client.experiments import experiment as compare
    from astromesh_cli.client.experiments import print_experiment
    from astromesh_cli.client.terminal import print_json
    from astromesh_cli.commands.costs import moment

    body = _changes(prompt, model, provider, endpoint, current=current)
    query = {
        "agent": agent,
        "status": "completed",
        "from": moment(since, datetime.now(UTC)).isoformat(),
        "page_size": limit,
    }
    with call.connect() as mesh:
        page = cast("RunPage", mesh.get("/v1/runs", query))
        found = compare(mesh, [(run["run_id"], run["query"]) for run in page["runs"]], body)
    if call.as_json:
        print_json(found)
    else:
        print_experiment(found)
    if found["failed"]:
        raise typer.Exit(Exit.FAILED)


def _changes(prompt: str, model: str, provider: str, endpoint: str, *, current: bool) -> dict[str, JsonValue]:
    """What of the agent is changed, as the API takes it."""
    named = {"provider": provider, "model": model, "endpoint": endpoint}
    changed: dict[str, JsonValue] = {name: value for name, value in named.items() if value}
    return {
        "prompt": _text_of(prompt),
        "model": changed or None,
        "agent_version": "current" if current else "recorded",
    }


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
