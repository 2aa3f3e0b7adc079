"""`audit`: files that prove what is in the mesh's log, checked with no mesh at hand; and the heads that vouch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import EPILOG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from astromesh_core.audit.verifying import Finding
    from astromesh_gateway.routes.audit import TreeHeadPage

Runs = Annotated[list[str] | None, typer.Argument(help="Runs by their ids.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "export")(export)
    app.command("verify", epilog=EPILOG)(verify)
    client_command(app, "heads")(heads)


def export(
    call: Call,
    runs: Runs = None,
    session: Annotated[str, typer.Option(help="A whole session, as it was named; needs --agent.")] = "",
    agent: Annotated[str, typer.Option(help="The session's agent.")] = "",
    since: Annotated[str, typer.Option(help="All runs since: 2026-03-01, an ISO 8601 time, or 90m, 12h, 7d, 4w.")] = "",
    output: Annotated[str, typer.Option("--output", "-o", help="The file; - for stdout.")] = "audit.jsonl",
) -> None:
    """Writes runs, or a session, into one file that proves itself: events, values, and their signed place in the log.

    What was written is checked at once, as `audit verify` would.
    """
    from datetime import UTC, datetime

    from astromesh_cli.commands.costs import moment

    query: dict[str, str | list[str]] = {"run": list(runs or [])}
    named = {"session": session, "agent": agent, "from": moment(since, datetime.now(UTC)).isoformat() if since else ""}
    query |= {name: value for name, value in named.items() if value}
    if not any(query.values()):
        raise typer.BadParameter("name runs, or --session with --agent, or --since")
    with call.connect() as mesh:
        if output == "-":
            mesh.download("/v1/audit/export", query, sys.stdout.buffer)
            return
        path = Path(output)
        draft = path.with_name(f"{path.name}.part")
        with draft.open("wb") as file:
            mesh.download("/v1/audit/export", query, file)
    draft.replace(path)
    _tell(path, _verified(path, None, None), as_json=call.as_json)


def verify(
    file: Annotated[Path, typer.Argument(help="A file that `audit export` wrote.")],
    anchors: Annotated[
        Path | None, typer.Option(help="The heads that were told to a place outside the mesh, one a line.")
    ] = None,
    key: Annotated[str, typer.Option(help="The public key that is trusted, as `audit heads` shows it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")] = False,
) -> None:
    """Checks an exported file with nothing but the file: every byte, every link, every chain's place in the tree.

    Who holds the mesh's key could sign another log: --anchors finds that out, with heads from where it cannot reach.
    """
    from astromesh_cli.client.failures import reported

    with reported(as_json=as_json):
        _tell(file, _verified(file, anchors, _key(key)), as_json=as_json)


def heads(call: Call, count: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 10) -> None:
    """Lists the signed heads of the tree over the log, and the places outside to which they were told."""
    from astromesh_cli.client.terminal import BAD, QUIET, print_json, table, tell

    with call.connect() as mesh:
        page = cast("TreeHeadPage", mesh.get("/v1/audit/heads", {"page_size": count}))
    if call.as_json:
        print_json(page)
        return
    table(["SIZE", "SIGNED", "ROOT"], [[f"{head['size']:,}", head["time"], head["root"]] for head in page["heads"]])
    if page["heads"]:
        tell(f"public key {page['heads'][0]['public_key']}", QUIET)
    for anchor in page["anchors"]:
        tell(f"anchored at {anchor['place']}: size {anchor['size']:,} {anchor['time']}".rstrip(), QUIET)
        if anchor["trouble"]:
            tell(f"  {anchor['trouble']}", BAD)
    if not page["anchors"]:
        tell("anchored nowhere: declare spec.audit.anchors in the RuntimeConfig", QUIET)


def _verified(path: Path, anchors: Path | None, key: bytes | None) -> Finding:
    from astromesh_core.audit.heads import anchored_heads
    from astromesh_core.audit.verifying import verify as check
    from astromesh_core.errors import InvalidInput

    try:
        told = anchored_heads(anchors.read_bytes()) if anchors is not None else None
        with path.open("rb") as file:
            return check(_lines(file), anchored=told, public_key=key)
    except OSError as error:
        raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}") from error


def _lines(file: Iterator[bytes]) -> Iterator[bytes]:
    yield from file


def _key(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b"-"
    if text and len(key) != 32:
        raise typer.BadParameter("a public key has 64 hexadecimal digits", param_hint="--key")
    return key or None


def _tell(path: Path, finding: Finding, *, as_json: bool) -> None:
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.proofs import audit_document, print_audit
    from astromesh_cli.client.terminal import print_json

    if as_json:
        print_json(audit_document(finding))
    else:
        print_audit(finding)
    if not finding.ok:
        raise Failed(f"{path} does not hold: {first_fault(finding)}")


def first_fault(finding: Finding) -> str:
    """What is wrong first, with the chain in which it is."""
    faults: Sequence[str] = [f"{chain.type} {chain.id}: {chain.fault}" for chain in finding.chains if chain.fault]
    return next(iter(faults), "") or finding.fault
