"""`runs`: finding runs, seeing what they did, and settling what waits. Proving them stands in `proving`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import Exit

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.replies import RunRecord
    from astromesh_gateway.routes.looking_back import MomentReply
    from astromesh_gateway.routes.runs import EventPage, EventReply, ResultReply, RunPage

RunId = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN_ID")]
_QUESTION_WIDTH = 48
_PAGE = 1_000
_RATINGS = {"good": 1, "bad": -1, "neutral": 0}


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "list")(list_runs)
    client_command(app, "show")(show)
    client_command(app, "events")(events)
    client_command(app, "result")(result)
    client_command(app, "cancel")(cancel)
    client_command(app, "resolve")(resolve)
    client_command(app, "rate")(rate)


def list_runs(
    call: Call,
    agent: Annotated[str, typer.Option(help="Of this agent.")] = "",
    session: Annotated[str, typer.Option(help="Of this session; needs --agent.")] = "",
    status: Annotated[str, typer.Option(help="completed, failed, running, needs-human …")] = "",
    text: Annotated[str, typer.Option(help="With these words in question or answer.")] = "",
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
) -> None:
    """Lists runs, newest first."""
    from astromesh_cli.client.terminal import local_time, print_json, shortened, status_text, table

    wanted: dict[str, str | int | float] = {"agent": agent, "session": session, "status": status, "text": text}
    with call.connect() as mesh:
        runs = _list(mesh, {name: value for name, value in wanted.items() if value}, limit)
    if call.as_json:
        print_json({"runs": runs})
        return
    rows = [
        [
            run["run_id"],
            run["agent"],
            status_text(run["status"]),
            local_time(run.get("requested_at", "")),
            _took(run),
            shortened(run["query"], _QUESTION_WIDTH),
        ]
        for run in runs
    ]
    table(["RUN", "AGENT", "STATUS", "REQUESTED", "TOOK", "QUESTION"], rows)


def show(
    call: Call,
    run_id: RunId,
    at: Annotated[
        int | None, typer.Option(min=0, help="As it stood at this event: the prompt as sent, memory, tools, spend.")
    ] = None,
) -> None:
    """Shows what a run did: its timeline with durations, the answer, its sources and what it cost."""
    from astromesh_cli.client.looking_back import print_moment
    from astromesh_cli.client.terminal import print_json
    from astromesh_cli.client.timeline import print_run

    with call.connect() as mesh:
        if at is not None:
            moment = cast("MomentReply", mesh.get(f"/v1/runs/{run_id}/at/{at}"))
            if call.as_json:
                print_json(moment)
            else:
                print_moment(moment)
            return
        run = cast("RunRecord", mesh.get(f"/v1/runs/{run_id}"))
        if call.as_json:
            print_json(run)
        else:
            print_run(run, all_events(mesh, run_id))


def events(
    call: Call,
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="As they happen, until the run ends.")] = False,
) -> None:
    """Lists a run's events. With --json one document, with --json --follow a line for each."""
    from astromesh_cli.client.terminal import print_json
    from astromesh_cli.client.timeline import print_events

    with call.connect() as mesh:
        if follow:
            _follow(mesh, run_id, as_json=call.as_json)
            return
        found = all_events(mesh, run_id)
    if call.as_json:
        print_json({"run_id": run_id, "events": found})
    else:
        print_events(found)


def result(
    call: Call,
    run_id: RunId,
    path: Annotated[str, typer.Argument(help="Of the tool's step, such as 2.1.", metavar="PATH")],
) -> None:
    """Prints all that a tool answered, where the model read only the beginning of it too."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        found = cast("ResultReply", mesh.get(f"/v1/runs/{run_id}/results/{path}"))
    if call.as_json:
        print_json(found)
    else:
        typer.echo(found["output"])


def cancel(call: Call, run_id: RunId, reason: Annotated[str, typer.Option(help="Why.")] = "") -> None:
    """Cancels a run that has not ended."""
    with call.connect() as mesh:
        run = cast("RunRecord", mesh.post(f"/v1/runs/{run_id}/cancel", {"reason": reason}))
    _print_state(call, run)
    if run["status"] not in ("cancelled", "compensated"):
        ended = run["status"] in ("completed", "failed")
        raise typer.Exit(Exit.FAILED if ended else Exit.LATER)


def resolve(
    call: Call,
    run_id: RunId,
    path: Annotated[str, typer.Argument(help="The step that is unknown, or could not be undone, such as 2.1.")],
    outcome: Annotated[Literal["succeeded", "failed"], typer.Option(help="What really happened.")],
    result: Annotated[str, typer.Option(help="What the tool would have answered, or why it failed.")] = "",
) -> None:
    """Says what became of a step whose outcome is unknown, or whether one that could not be undone is; the run then
    goes on."""
    body: dict[str, JsonValue] = {"path": path, "outcome": outcome, "result": result}
    with call.connect() as mesh:
        run = cast("RunRecord", mesh.post(f"/v1/runs/{run_id}/resolve", body))
    _print_state(call, run)


def rate(
    call: Call,
    run_id: RunId,
    rating: Annotated[Literal["good", "bad", "neutral"], typer.Argument(help="How good its answer was.")],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Says how good a run was that has ended; its agent remembers it, where it has episodic memory."""
    body: dict[str, JsonValue] = {"rating": _RATINGS[rating], "comment": comment}
    with call.connect() as mesh:
        run = cast("RunRecord", mesh.post(f"/v1/runs/{run_id}/feedback", body))
    _print_state(call, run)


def all_events(mesh: MeshClient, run_id: str) -> list[EventReply]:
    """Every event of a run, all pages of them."""
    found: list[EventReply] = []
    token = ""
    while True:
        query: dict[str, str | int | float] = {"page_size": _PAGE, "page_token": token}
        page = cast("EventPage", mesh.get(f"/v1/runs/{run_id}/events", query))
        found += page["events"]
        token = page["next_page_token"]
        if not token:
            return found


def _list(mesh: MeshClient, wanted: dict[str, str | int | float], limit: int) -> list[RunRecord]:
    runs: list[RunRecord] = []
    token = ""
    while len(runs) < limit:
        query = {**wanted, "page_size": min(limit - len(runs), _PAGE), "page_token": token}
        page = cast("RunPage", mesh.get("/v1/runs", query))
        runs += page["runs"]
        token = page["next_page_token"]
        if not token:
            break
    return runs


def _follow(mesh: MeshClient, run_id: str, *, as_json: bool) -> None:
    from astromesh_cli.client.answers import AnswerPrinter
    from astromesh_cli.client.failures import Failed, problem_message
    from astromesh_cli.client.streams import ENDS, followed
    from astromesh_cli.client.terminal import print_json_line
    from astromesh_cli.client.timeline import print_update

    with closing(AnswerPrinter()) as printer, closing(followed(mesh, run_id)) as updates:
        for event in updates:
            if as_json:
                print_json_line({"event": event.name, "id": event.id or None, "data": event.data})
            elif event.name in ("token", "reasoning", "restart"):
                printer.take(event)
            else:
                printer.close()
                print_update(event)
            if event.name == "error":
                raise Failed(problem_message(event.data))
            if event.name in ENDS:
                return


def _print_state(call: Call, run: RunRecord) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import out, print_json, status_text

    if call.as_json:
        print_json(run)
    else:
        out().print(Text(f"run {run['run_id']} ") + status_text(run["status"]))


def _took(run: RunRecord) -> str:
    from datetime import datetime

    from astromesh_cli.client.terminal import milliseconds

    begun, ended = run.get("requested_at", ""), run.get("ended_at", "")
    if not begun or not ended:
        return ""
    span = datetime.fromisoformat(ended) - datetime.fromisoformat(begun)
    return milliseconds(span.total_seconds() * 1_000)
