"""/v1/rag/pipelines/{name}/ingestions: what a pipeline took in, when, and why not all of it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from typing_extensions import TypedDict

from astromesh.v1.ingestion_events_pb2 import (
    DOCUMENT_OUTCOME_ADDED,
    DOCUMENT_OUTCOME_REFUSED,
    DOCUMENT_OUTCOME_REMOVED,
    DOCUMENT_OUTCOME_REPLACED,
    INGESTION_CAUSE_ASKED,
    INGESTION_CAUSE_DECLARED,
    INGESTION_CAUSE_GIVEN,
    INGESTION_CAUSE_SCHEDULED,
    DocumentOutcome,
    IngestionCause,
)
from astromesh.v1.rag_pb2 import (
    INGESTION_STATUS_CANCELLED,
    INGESTION_STATUS_COMPLETED,
    INGESTION_STATUS_FAILED,
    INGESTION_STATUS_INTERRUPTED,
    INGESTION_STATUS_RUNNING,
    CancelIngestionRequest,
    GetIngestionRequest,
    Ingestion,
    IngestionStatus,
    ListIngestionsRequest,
)
from astromesh_gateway.access import Admin, TheGateway, Viewer
from astromesh_gateway.bodies import CancelBody
from astromesh_gateway.documentation import errors
from astromesh_gateway.shown import moment

router = APIRouter(prefix="/pipelines/{name}/ingestions")

Status = Literal["running", "interrupted", "completed", "failed", "cancelled"]
Cause = Literal["declared", "asked", "scheduled", "given"]
Outcome = Literal["added", "replaced", "removed", "refused"]

_STATUSES: dict[IngestionStatus.ValueType, Status] = {
    INGESTION_STATUS_RUNNING: "running",
    INGESTION_STATUS_INTERRUPTED: "interrupted",
    INGESTION_STATUS_COMPLETED: "completed",
    INGESTION_STATUS_FAILED: "failed",
    INGESTION_STATUS_CANCELLED: "cancelled",
}
_CAUSES: dict[IngestionCause.ValueType, Cause] = {
    INGESTION_CAUSE_DECLARED: "declared",
    INGESTION_CAUSE_ASKED: "asked",
    INGESTION_CAUSE_SCHEDULED: "scheduled",
    INGESTION_CAUSE_GIVEN: "given",
}
_OUTCOMES: dict[DocumentOutcome.ValueType, Outcome] = {
    DOCUMENT_OUTCOME_ADDED: "added",
    DOCUMENT_OUTCOME_REPLACED: "replaced",
    DOCUMENT_OUTCOME_REMOVED: "removed",
    DOCUMENT_OUTCOME_REFUSED: "refused",
}


class IngestionReply(TypedDict):
    """An ingestion. `interrupted`: nobody runs it at this moment; it goes on with what is missing."""

    id: str
    pipeline: str
    cause: Cause
    status: Status
    requested_at: str
    ended_at: str | None
    documents_total: int
    documents_done: int
    added: int
    replaced: int
    removed: int
    unchanged: int
    refused: int
    chunks: int
    reason: str


class ChangeReply(TypedDict):
    """A document that an ingestion changed, or refused with a reason."""

    source: str
    outcome: Outcome
    chunks: int
    reason: str


class IngestionDetails(IngestionReply):
    """An ingestion with the first thousand documents that it changed."""

    changes: list[ChangeReply]


class IngestionPage(TypedDict):
    """Ingestions, newest first; `next_page_token` is empty on the last page."""

    ingestions: list[IngestionReply]
    next_page_token: str


@router.get("", summary="List ingestions", responses=errors(404, 422, 503))
async def list_ingestions(
    name: str,
    caller: Viewer,
    gateway: TheGateway,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    page_token: Annotated[str, Query(max_length=64)] = "",
) -> IngestionPage:
    """What the pipeline took in during the last ninety days."""
    request = ListIngestionsRequest(
        namespace=caller.namespace, pipeline=name, page_size=page_size, page_token=page_token
    )
    page = await gateway.services.rag.ListIngestions(request)
    return IngestionPage(
        ingestions=[ingestion_reply(one) for one in page.ingestions], next_page_token=page.next_page_token
    )


@router.get("/{ingestion_id}", summary="Get an ingestion", responses=errors(400, 404, 503))
async def get_ingestion(name: str, ingestion_id: str, caller: Viewer, gateway: TheGateway) -> IngestionDetails:
    """One ingestion, with the documents that it changed."""
    request = GetIngestionRequest(namespace=caller.namespace, pipeline=name, ingestion_id=ingestion_id)
    found = await gateway.services.rag.GetIngestion(request)
    changes = [
        ChangeReply(
            source=change.source,
            outcome=_OUTCOMES[change.outcome],
            chunks=change.chunks,
            reason=change.reason,
        )
        for change in found.changes
    ]
    return IngestionDetails(**ingestion_reply(found.ingestion), changes=changes)


@router.post("/{ingestion_id}/cancel", summary="Cancel an ingestion", responses=errors(400, 404, 409, 422, 503))
async def cancel_ingestion(
    name: str, ingestion_id: str, caller: Admin, gateway: TheGateway, body: CancelBody | None = None
) -> IngestionReply:
    """Has it end; what it took in stays. It may still be `running` for some seconds."""
    request = CancelIngestionRequest(
        namespace=caller.namespace,
        pipeline=name,
        ingestion_id=ingestion_id,
        reason=body.reason if body is not None else "",
    )
    return ingestion_reply((await gateway.services.rag.CancelIngestion(request)).ingestion)


def ingestion_reply(ingestion: Ingestion) -> IngestionReply:
    """An ingestion as callers see it."""
    counts = ingestion.counts
    return IngestionReply(
        id=ingestion.id,
        pipeline=ingestion.pipeline,
        cause=_CAUSES[ingestion.cause],
        status=_STATUSES[ingestion.status],
        requested_at=moment(ingestion.requested_unix_nano),
        ended_at=moment(ingestion.ended_unix_nano) if ingestion.ended_unix_nano else None,
        documents_total=counts.documents_total,
        documents_done=counts.documents_done,
        added=counts.added,
        replaced=counts.replaced,
        removed=counts.removed,
        unchanged=counts.unchanged,
        refused=counts.refused,
        chunks=counts.chunks,
        reason=ingestion.reason,
    )
