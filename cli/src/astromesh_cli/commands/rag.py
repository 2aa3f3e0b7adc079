"""`rag`: taking documents into a pipeline, and asking it directly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command
from astromesh_cli.commands import ingestions

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_cli.client.mesh import MeshClient
    from astromesh_gateway.routes.rag import DocumentPage, HeldReply, IngestReply, QueryReply

Pipeline = Annotated[str, typer.Argument(help="The pipeline's name.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "ingest")(ingest)
    client_command(app, "query")(query)
    client_command(app, "documents")(documents)
    client_command(app, "remove")(remove)
    ingestions.register(app)


def ingest(
    call: Call,
    pipeline: Pipeline,
    files: Annotated[list[Path] | None, typer.Argument(help="Files to send; none: what its sources hold.")] = None,
    metadata: Annotated[
        str, typer.Option("--metadata", metavar="JSON", help='What filters see of the files, as {"team": "support"}.')
    ] = "",
) -> None:
    """Takes in a pipeline's documents: new ones are added, changed ones replaced, vanished ones removed. Or files."""
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.ingestion import ingested, joined, print_ingested
    from astromesh_cli.client.terminal import print_json
    from astromesh_cli.client.uploads import batches, check_distinct

    known = _json_object("--metadata", metadata)
    if metadata and not files:
        raise typer.BadParameter("is of files that are sent, and there are none", param_hint="--metadata")
    check_distinct(files or [])
    summary: IngestReply | None = None
    with call.connect() as mesh:
        for documents in batches(files, known) if files else (None,):
            part = ingested(mesh, pipeline, documents=documents)
            summary = part if summary is None else joined(summary, part)
    assert summary is not None
    if call.as_json:
        print_json(summary)
    else:
        print_ingested(summary)
    if summary["refused"]:
        count = len(summary["refused"])
        raise Failed(f"{count} document{'s' * (count != 1)} could not be read")


def documents(
    call: Call,
    pipeline: Pipeline,
    limit: Annotated[int, typer.Option(help="How many.", min=1)] = 1_000,
) -> None:
    """Lists the documents that a pipeline holds."""
    from astromesh_cli.client.terminal import print_json, table

    with call.connect() as mesh:
        held = _held(mesh, pipeline, limit)
    if call.as_json:
        print_json({"documents": held})
    else:
        table(["ORIGIN", "SOURCE"], [[one["origin"], one["source"]] for one in held])


def remove(
    call: Call,
    pipeline: Pipeline,
    sources: Annotated[list[str], typer.Argument(help="Sources of documents that were sent, as `documents` has them.")],
) -> None:
    """Removes documents that were sent. Those of declared sources go with their files and pages."""
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.ingestion import ingested, print_ingested
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        summary = ingested(mesh, pipeline, removed=sources)
    if call.as_json:
        print_json(summary)
    else:
        print_ingested(summary)
    if summary["refused"]:
        raise Failed("; ".join(summary["refused"]))


def query(
    call: Call,
    pipeline: Pipeline,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    top: Annotated[int, typer.Option("--top", "-k", help="How many passages; 0: the pipeline's own.", min=0)] = 0,
    where: Annotated[
        str, typer.Option("--filter", metavar="JSON", help='Only passages that meet it, as {"year": {"$gte": 2024}}.')
    ] = "",
) -> None:
    """Shows the passages nearest to a text, best first."""
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        body: dict[str, JsonValue] = {"pipeline": pipeline, "query": text, "top_k": top}
        body["filter"] = _json_object("--filter", where)
        reply = cast("QueryReply", mesh.post("/v1/rag/query", body))
    if call.as_json:
        print_json(reply)
    else:
        _print_passages(reply)


def _held(mesh: MeshClient, pipeline: str, limit: int) -> list[HeldReply]:
    found: list[HeldReply] = []
    token = ""
    while len(found) < limit:
        query: dict[str, str | int | float] = {"page_size": min(limit - len(found), 1_000), "page_token": token}
        page = cast("DocumentPage", mesh.get(f"/v1/rag/pipelines/{pipeline}/documents", query))
        found += page["documents"]
        token = page["next_page_token"]
        if not token:
            break
    return found


def _json_object(option: str, text: str) -> dict[str, JsonValue]:
    """An option's JSON as the gateway takes it, which judges what is in it."""
    import json

    try:
        value: object = json.loads(text) if text else {}
    except ValueError as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint=option) from error
    if not isinstance(value, dict):
        raise typer.BadParameter('is no JSON object, such as {"team": "support"}', param_hint=option)
    return cast("dict[str, JsonValue]", value)


def _print_passages(reply: QueryReply) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, TITLE, out, tell

    if not reply["results"]:
        tell(f"pipeline {reply['pipeline']} found nothing; has it ingested? astromesh rag ingest {reply['pipeline']}")
    for number, passage in enumerate(reply["results"], 1):
        page = passage.get("metadata", {}).get("page")
        titles = [*passage["headings"], *([f"page {page}"] if page else [])]
        place = f"  {' › '.join(titles)}  {passage['start']}–{passage['end']}"
        head = Text.assemble((f"{number}. ", QUIET), (passage["source"], NAME), (place, QUIET))
        out().print(head + Text(f"  {passage['score']:.3f}", TITLE))
        out().print(Text("   " + passage["text"].strip().replace("\n", "\n   ") + "\n"))
