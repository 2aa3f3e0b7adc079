"""`rag ingestions`, `rag ingestion` and `rag cancel`: what pipelines took in, and ending what is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.client.exits import Exit

if TYPE_CHECKING:
    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.routes.ingestions import IngestionDetails, IngestionPage, IngestionReply

Pipeline = Annotated[str, typer.Argument(help="The pipeline's name.")]
IngestionId = Annotated[str, typer.Argument(help="The ingestion's id.", metavar="INGESTION_ID")]

_PAGE = 100


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "ingestions")(list_ingestions)
    client_command(app, "ingestion")(show)
    client_command(app, "cancel")(cancel)


def list_ingestions(
    call: Call,
    pipeline: Pipeline,
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
) -> None:
    """Lists what a pipeline took in: when, why, and what became of it."""
    from astromesh_cli.client.terminal import local_time, print_json, status_text, table

    with call.connect() as mesh:
        found = _list(mesh, pipeline, limit)
    if call.as_json:
        print_json({"ingestions": found})
        return
    rows = [
        [
            one["id"],
            one["cause"],
            status_text(one["status"]),
            local_time(one["requested_at"]),
            f"{one['documents_done']}/{one['documents_total']}",
            _changed(one),
        ]
        for one in found
    ]
    table(["INGESTION", "CAUSE", "STATUS", "REQUESTED", "DOCUMENTS", "CHANGED"], rows)


def show(call: Call, pipeline: Pipeline, ingestion_id: IngestionId) -> None:
    """Shows an ingestion with the documents that it changed or refused."""
    from astromesh_cli.client.terminal import print_json, table

    with call.connect() as mesh:
        found = cast("IngestionDetails", mesh.get(_place(pipeline, ingestion_id)))
    if call.as_json:
        print_json(found)
        return
    _print_state(found)
    if found["changes"]:
        rows = [
            [change["source"], change["outcome"], str(change["chunks"] or ""), change["reason"]]
            for change in found["changes"]
        ]
        table(["SOURCE", "OUTCOME", "CHUNKS", "REASON"], rows)


def cancel(
    call: Call, pipeline: Pipeline, ingestion_id: IngestionId, reason: Annotated[str, typer.Option(help="Why.")] = ""
) -> None:
    """Has an ingestion end. What it took in stays."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        ended = cast("IngestionReply", mesh.post(f"{_place(pipeline, ingestion_id)}/cancel", {"reason": reason}))
    if call.as_json:
        print_json(ended)
    else:
        _print_state(ended)
    if ended["status"] != "cancelled":
        raise typer.Exit(Exit.LATER if ended["status"] == "running" else Exit.FAILED)


def _list(mesh: MeshClient, pipeline: str, limit: int) -> list[IngestionReply]:
    found: list[IngestionReply] = []
    token = ""
    while len(found) < limit:
        query: dict[str, str | int | float] = {"page_size": min(limit - len(found), _PAGE), "page_token": token}
        page = cast("IngestionPage", mesh.get(f"/v1/rag/pipelines/{pipeline}/ingestions", query))
        found += page["ingestions"]
        token = page["next_page_token"]
        if not token:
            break
    return found


def _place(pipeline: str, ingestion_id: str) -> str:
    return f"/v1/rag/pipelines/{pipeline}/ingestions/{ingestion_id}"


def _changed(one: IngestionReply) -> str:
    counts = (
        (one["added"], "added"),
        (one["replaced"], "replaced"),
        (one["removed"], "removed"),
        (one["refused"], "refused"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "nothing"


def _print_state(one: IngestionReply) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, out, status_text

    head = Text.assemble((one["id"], NAME), "  ", status_text(one["status"]), (f"  {one['cause']}", QUIET))
    out().print(head)
    done = f"{one['documents_done']} of {one['documents_total']} documents looked at"
    out().print(Text(f"  {done}: {_changed(one)}, {one['unchanged']} up to date", QUIET))
    if one["reason"]:
        out().print(Text(f"  {one['reason']}"))
