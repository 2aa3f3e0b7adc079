"""`guardrails`: what an agent's rules say of a text, without a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import Exit

if TYPE_CHECKING:
    from rich.text import Text

    from astromesh_gateway.routes.guardrails import CheckReply, VerdictReply


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "test")(ask_rules)


def ask_rules(
    call: Call,
    agent: Annotated[str, typer.Argument(help="Whose rules.", metavar="AGENT")],
    text: Annotated[str, typer.Option(help="What they are asked about; - reads it from stdin.")],
    stage: Annotated[
        Literal["input", "tool_arguments", "tool_results", "output"], typer.Option(help="Where the rules stand.")
    ] = "input",
) -> None:
    """Shows what every rule of a stage says of a text. Exits with 1 where the text is blocked."""
    from astromesh_cli.client.terminal import print_json

    body = {"agent": agent, "text": sys.stdin.read() if text == "-" else text, "stage": stage}
    with call.connect() as mesh:
        reply = cast("CheckReply", mesh.post("/v1/guardrails/check", body))
    if call.as_json:
        print_json(reply)
    else:
        _print(reply, stage)
    if reply["blocked"]:
        raise typer.Exit(Exit.FAILED)


def _print(reply: CheckReply, stage: str) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import BAD, QUIET, TITLE, out, table, tell

    rows = [
        [verdict["place"], verdict["rule"], _action(verdict), _findings(verdict), verdict.get("policy", "")]
        for verdict in reply["verdicts"]
    ]
    if not rows:
        tell(f"there are no rules at {stage}: any text passes", QUIET)
        return
    table(["PLACE", "RULE", "ACTION", "FOUND", "POLICY"], rows)
    if reply["blocked"]:
        out().print(Text.assemble(("\nBlocked ", BAD), reply.get("reason", "")))
    else:
        out().print(Text.assemble(("\nGoes on as\n", TITLE), reply.get("text", "")))
    for reason in reply.get("held_back", []):
        out().print(Text(f"told when it is whole, for {reason}", QUIET))


def _action(verdict: VerdictReply) -> Text:
    from rich.text import Text

    from astromesh_cli.client.terminal import BAD, GOOD, WARN

    styles = {"allow": GOOD, "block": BAD}
    told = verdict["action"] + (" (dry run)" if verdict["dry_run"] else "")
    if "error_class" in verdict:
        told += f" ({verdict['error_class']})"
    return Text(told, styles.get(verdict["action"], WARN))


def _findings(verdict: VerdictReply) -> str:
    return ", ".join(f"{found['kind']} {found['start']}-{found['end']}" for found in verdict["findings"])
