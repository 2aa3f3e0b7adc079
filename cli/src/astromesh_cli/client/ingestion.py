"""Ingesting with a progress bar on a terminal, quietly elsewhere."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from rich.console import Console
from rich.text import Text

from astromesh_cli.client.failures import Refused, Unreachable
from astromesh_cli.client.mesh import MeshClient
from astromesh_cli.client.streams import Event, events_of
from astromesh_cli.client.terminal import GOOD, NAME, QUIET, WARN, err, is_lively

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue
    from rich.progress import Progress

    from astromesh_cli.client.uploads import Documents
    from astromesh_gateway.routes.rag import IngestReply


def ingested(
    mesh: MeshClient,
    pipeline: str,
    console: Console | None = None,
    *,
    documents: Documents | None = None,
    removed: Sequence[str] = (),
) -> IngestReply:
    """Lets a pipeline take in the documents and remove others, else take in those of its sources; what changed.

    Progress is drawn on stderr unless told otherwise. Interrupted, the ingestion ends; what was taken in stays.
    """
    bar = _bar(console or err())
    task = bar.add_task("starting", total=None) if bar is not None else None
    body: dict[str, JsonValue] = {"pipeline": pipeline}
    if documents is not None:
        body["documents"] = documents
    if removed:
        body["removed"] = list(removed)
    with (
        bar or nullcontext(),
        mesh.stream("POST", "/v1/rag/ingest", body=body) as response,
    ):
        for event in events_of(response):
            if event.name == "done":
                return cast("IngestReply", event.data)
            if event.name == "error":
                raise Refused(int(event.number("status")) or 500, event.data)
            if bar is not None and task is not None:
                _advance(bar, task, event)
    raise Unreachable(mesh.url, "the ingestion broke off")


def joined(first: IngestReply, second: IngestReply) -> IngestReply:
    """What two ingestions of one pipeline changed; the id is the later one's."""
    return {
        "pipeline": second["pipeline"],
        "added": first["added"] + second["added"],
        "replaced": first["replaced"] + second["replaced"],
        "removed": first["removed"] + second["removed"],
        "unchanged": first["unchanged"] + second["unchanged"],
        "chunks": first["chunks"] + second["chunks"],
        "refused": [*first["refused"], *second["refused"]],
        "ingestion_id": second["ingestion_id"],
    }


def print_ingested(summary: IngestReply, console: Console | None = None) -> None:
    """What ingesting changed; on stderr unless told otherwise."""
    target = console or err()
    counts = (
        (summary["added"], "added"),
        (summary["replaced"], "replaced"),
        (summary["removed"], "removed"),
        (summary["unchanged"], "up to date"),
    )
    changes = [f"{count} {what}" for count, what in counts if count] or ["no document found"]
    line = Text.assemble(("✓ ", GOOD), (summary["pipeline"], NAME), f"  {', '.join(changes)}")
    target.print(line + Text(f"  {summary['chunks']} chunks written" * bool(summary["chunks"]), QUIET))
    for refused in summary["refused"]:
        target.print(Text(f"  refused: {refused}", WARN))


def _bar(console: Console) -> Progress | None:
    if not is_lively(console):
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.description}", style=QUIET))
    return Progress(*columns, console=console, transient=True)


def _advance(bar: Progress, task: object, event: Event) -> None:
    from rich.progress import TaskID

    if event.text("waits_for"):
        bar.update(cast("TaskID", task), description=f"waits for ingestion {event.text('waits_for')}")
        return
    total = event.number("documents_total")
    done = event.number("documents_done")
    bar.update(cast("TaskID", task), total=total, completed=done, description=event.text("source"))
