"""The verdicts of replay and verify, drawn."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, cast

import orjson
from rich.text import Text

from astromesh_cli.client.terminal import BAD, GOOD, QUIET, milliseconds, out

if TYPE_CHECKING:
    from astromesh_gateway.routes.runs import DifferenceReply, ReplayReply, VerifyReply


def print_replay(verdict: ReplayReply) -> None:
    """The verdict, or the first event that differs as a diff."""
    took = milliseconds(verdict["duration_ms"])
    difference = verdict["difference"]
    if verdict["identical"]:
        line = Text.assemble(("✓ replay identical", GOOD))
        line.append(f"  {verdict['events']} events re-executed in {took}, no model and no tool called", QUIET)
        out().print(line)
        return
    out().print(Text("✗ replay differs", BAD) + Text(f"  {verdict['events']} events, {took}", QUIET))
    if difference is not None:
        _print_difference(difference)


def print_verdict(verdict: VerifyReply) -> None:
    """Whether the chain holds."""
    if verdict["ok"]:
        line = Text("✓ chain intact", GOOD)
        line.append(f"  {verdict['events']} events, each bound to the one before by its SHA-256", QUIET)
        out().print(line)
    else:
        out().print(Text(f"✗ chain broken at event {verdict['broken_at']}: {verdict['reason']}", BAD))


def _print_difference(difference: DifferenceReply) -> None:
    place = f" at step {difference['path']}" if difference["path"] else ""
    out().print(Text(f"first difference: event {difference['index']}{place}"))
    recorded, replayed = _lines(difference["recorded"]), _lines(difference["replayed"])
    for line in difflib.unified_diff(recorded, replayed, "recorded", "replayed", lineterm="", n=2):
        style = {"+": GOOD, "-": BAD, "@": QUIET}.get(line[:1], "")
        out().print(Text(f"  {line}", style))


def _lines(text: str) -> list[str]:
    """JSON with a member a line; other text by its lines."""
    try:
        value = cast("object", orjson.loads(text))
    except orjson.JSONDecodeError:
        return text.splitlines()
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()
