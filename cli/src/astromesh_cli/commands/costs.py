"""`costs`: what model calls have cost, by agent, model, day and more."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astromesh_cli.client.terminal import Cell
    from astromesh_gateway.routes.costs import CostReply, CostsReply

GROUPS = ("agent", "provider", "model", "day", "principal")
_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Moment = "2026-03-01, a time in ISO 8601, or how long ago: 90m, 12h, 7d, 4w"


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    client_command(app, "costs")(costs)


def costs(
    call: Call,
    by: Annotated[str, typer.Option(help=f"One or more of {', '.join(GROUPS)}, with commas between.")] = "agent",
    since: Annotated[str, typer.Option(help=f"{Moment}; else the first of this month, UTC.", show_default=False)] = "",
    until: Annotated[str, typer.Option(help="Likewise; else now.", show_default=False)] = "",
    agent: Annotated[str, typer.Option(help="Of this agent.")] = "",
    principal: Annotated[str, typer.Option(help="Of this API key, by name.")] = "",
) -> None:
    """Sums what model calls cost, the dearest first: every call in the log, also those that broke off or were lost."""
    from astromesh_cli.client.terminal import QUIET, print_json, table, tell

    now = datetime.now(UTC)
    begin = moment(since, now) if since else now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    query: dict[str, str | list[str]] = {"by": groups(by), "from": begin.isoformat()}
    named = {"until": moment(until, now).isoformat() if until else "", "agent": agent, "principal": principal}
    query.update({name: value for name, value in named.items() if value})
    with call.connect() as mesh:
        found = cast("CostsReply", mesh.get("/v1/costs", query))
    if call.as_json:
        print_json(found)
        return
    headings = [group.upper() for group in found["by"]]
    rows = [_row([each.get(group, "") or "(lost)" for group in found["by"]], each) for each in found["costs"]]
    total = _row(["TOTAL", *[""] * (len(headings) - 1)], found["total"])
    table([*headings, "CALLS", "ESTIMATED", "INPUT", "CACHED", "OUTPUT", "COST"], [*rows, total])
    tell(f"namespace {found['namespace']}, since {begin.isoformat(timespec='minutes')}", QUIET)


def groups(text: str) -> list[str]:
    """The groups that a list with commas names. Raises BadParameter."""
    named = [part.strip() for part in text.split(",") if part.strip()]
    unknown = next((name for name in named if name not in GROUPS), "" if named else text)
    if unknown or not named:
        raise typer.BadParameter(f"{unknown!r} is none of {', '.join(GROUPS)}", param_hint="--by")
    return named


def moment(text: str, now: datetime) -> datetime:
    """A time as people write it; one without a zone is in UTC, as calendar days of budgets are. Raises BadParameter."""
    ago = _AGO.fullmatch(text)
    try:
        given = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time: write {Moment}") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _row(names: Sequence[str], each: CostReply) -> list[Cell]:
    counts = (
        each["calls"],
        each["estimated_calls"],
        each["input_tokens"],
        each["cached_input_tokens"],
        each["output_tokens"],
    )
    return [*names, *(f"{count:,}" for count in counts), f"${each['cost_usd']:,.6f}"]
