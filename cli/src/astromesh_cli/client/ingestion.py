"""Ingesting with a progress bar on a terminal, quietly elsewhere."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from rich.text import Text

from astromesh_cli.client.failures import Refused, Unreachable
from astromesh_cli.client.mesh import MeshClient
from astromesh_cli.client.streams import Event, events_of
from astromesh_cli.client.terminal import GOOD, NAME, QUIET, WARN, err, is_lively, tell

if TYPE_CHECKING:
    from rich.progress import Progress

    from astromesh_gateway.routes.rag import IngestReply


def ingested(mesh: MeshClient, pipeline: str) -> IngestReply:
    """Lets a pipeline take in its documents; what changed. Progress is drawn on stderr."""
    bar = _bar()
    task = bar.add_task("starting", total=None) if bar is not None else None
    with (
        bar or nullcontext(),
        mesh.stream("POST", "/v1/rag/ingest", body={"pipeline": pipeline}) as response,
    ):
        for event in events_of(response):
            if event.name == "done":
                return cast("IngestReply", event.data)
            if event.name == "error":
                raise Refused(int(event.number("status")) or 500, event.data)
            if bar is not None and task is not None:
                _advance(bar, task, event)
    raise Unreachable(mesh.url, "the ingestion broke off")


def print_ingested(summary: IngestReply) -> None:
    """What ingesting changed."""
    changes = [
        f"{summary[name]} {name}" for name in ("added", "replaced", "removed", "unchanged") if summary[name]
    ] or ["nothing to take in"]
    line = Text.assemble(("✓ ", GOOD), (summary["pipeline"], NAME), f"  {', '.join(changes)}")
    err().print(line + Text(f"  {summary['chunks']} chunks", QUIET))
    for refused in summary["refused"]:
        tell(f"  refused: {refused}", WARN)


def _bar() -> Progress | None:
    if not is_lively(err()):
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.description}", style=QUIET))
    return Progress(*columns, console=err(), transient=True)


def _advance(bar: Progress, task: object, event: Event) -> None:
    from rich.progress import TaskID

    total = event.number("documents_total")
    done = event.number("documents_done")
    bar.update(cast("TaskID", task), total=total, completed=done, description=event.text("source"))
