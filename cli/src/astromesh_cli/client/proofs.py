"""The verdicts of replay and verify, drawn."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import orjson
from rich.text import Text

from astromesh_cli.client.terminal import BAD, GOOD, QUIET, milliseconds, out

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_core.audit.verifying import Finding
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


def print_audit(finding: Finding) -> None:
    """What was found of an exported file, a line for each chain."""
    for chain in finding.chains:
        line = Text(f"✗ {chain.type} {chain.id}", BAD) if chain.fault else Text(f"✓ {chain.type} {chain.id}", GOOD)
        line.append(f"  {chain.fault or f'{chain.events} events'}", "" if chain.fault else QUIET)
        if chain.type == "run" and not chain.fault and not chain.ended:
            line.append(", and it had not ended: more may have come since", QUIET)
        if chain.anchored_unix_nano and not chain.fault:
            lag = max(0, chain.anchored_unix_nano - chain.last_unix_nano) // 1_000_000_000
            line.append(f", anchored {lag:,} s after its last event", QUIET)
        if chain.absent:
            line.append(f", {chain.absent} values that the mesh no longer held", QUIET)
        out().print(line)
    if finding.fault:
        out().print(Text(f"✗ {finding.fault}", BAD))
    if finding.head is None or not finding.ok:
        return
    head = finding.head
    signed = datetime.fromtimestamp(head.time_unix_nano / 1e9, UTC).isoformat(timespec="seconds")
    out().print(Text(f"✓ in the tree of size {head.size:,}, signed {signed}", GOOD))
    out().print(Text(f"  by {head.public_key.hex()}", QUIET))
    told = "its head is the one that was anchored" if finding.anchored else "not compared with anchored heads"
    out().print(Text(f"  {told}", GOOD if finding.anchored else QUIET))


def audit_document(finding: Finding) -> dict[str, JsonValue]:
    """The same for scripts."""
    head = finding.head
    return {
        "ok": finding.ok,
        "fault": finding.fault,
        "namespace": finding.namespace,
        "anchored": finding.anchored,
        "public_key": head.public_key.hex() if head else "",
        "tree_size": head.size if head else 0,
        "chains": [
            {
                "type": chain.type,
                "id": chain.id,
                "events": chain.events,
                "ended": chain.ended,
                "last_unix_nano": str(chain.last_unix_nano),
                "anchored_unix_nano": str(chain.anchored_unix_nano),
                "absent_values": chain.absent,
                "fault": chain.fault,
            }
            for chain in finding.chains
        ],
    }


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
