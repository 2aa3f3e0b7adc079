"""`rag`: taking documents into a pipeline, and asking it directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from astromesh_cli.client.calls import Call, client_command

if TYPE_CHECKING:
    from astromesh_gateway.routes.rag import QueryReply

Pipeline = Annotated[str, typer.Argument(help="The pipeline's name.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    client_command(app, "ingest")(ingest)
    client_command(app, "query")(query)


def ingest(call: Call, pipeline: Pipeline) -> None:
    """Takes in a pipeline's documents: new ones are added, changed ones replaced, vanished ones removed."""
    from astromesh_cli.client.failures import Failed
    from astromesh_cli.client.ingestion import ingested, print_ingested
    from astromesh_cli.client.terminal import print_json

    with call.connect() as mesh:
        summary = ingested(mesh, pipeline)
    if call.as_json:
        print_json(summary)
    else:
        print_ingested(summary)
    if summary["refused"]:
        count = len(summary["refused"])
        raise Failed(f"{count} document{'s' * (count != 1)} could not be read")


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
        body = {"pipeline": pipeline, "query": text, "top_k": top, "filter": _filter(where)}
        reply = cast("QueryReply", mesh.post("/v1/rag/query", body))
    if call.as_json:
        print_json(reply)
    else:
        _print_passages(reply)


def _filter(text: str) -> dict[str, object]:
    """The filter as the gateway takes it, which judges what is in it."""
    import json

    try:
        value: object = json.loads(text) if text else {}
    except ValueError as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint="--filter") from error
    if not isinstance(value, dict):
        raise typer.BadParameter('is no JSON object, such as {"team": "support"}', param_hint="--filter")
    return cast("dict[str, object]", value)


def _print_passages(reply: QueryReply) -> None:
    from rich.text import Text

    from astromesh_cli.client.terminal import NAME, QUIET, TITLE, out, tell

    if not reply["results"]:
        tell(f"pipeline {reply['pipeline']} found nothing; has it ingested? astromesh rag ingest {reply['pipeline']}")
    for number, passage in enumerate(reply["results"], 1):
        place = f"  {' › '.join(passage['headings'])}  {passage['start']}–{passage['end']}"
        head = Text.assemble((f"{number}. ", QUIET), (passage["source"], NAME), (place, QUIET))
        out().print(head + Text(f"  {passage['score']:.3f}", TITLE))
        out().print(Text("   " + passage["text"].strip().replace("\n", "\n   ") + "\n"))
