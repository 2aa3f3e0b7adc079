"""Ingestions and documents as callers see them: the former folded from their events and from nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.ingestion_events_pb2 import DocumentChange
from astromesh.v1.rag_pb2 import (
    DOCUMENT_ORIGIN_FILE,
    DOCUMENT_ORIGIN_GIVEN,
    DOCUMENT_ORIGIN_PAGE,
    DOCUMENT_ORIGIN_UNSPECIFIED,
    INGESTION_STATUS_CANCELLED,
    INGESTION_STATUS_COMPLETED,
    INGESTION_STATUS_FAILED,
    INGESTION_STATUS_INTERRUPTED,
    INGESTION_STATUS_RUNNING,
    DocumentOrigin,
    HeldDocument,
    Ingestion,
    IngestionStatus,
)
from astromesh_core.events.contents import plain
from astromesh_rag.documents import FILE_PREFIX, GIVEN_PREFIX, PAGE_PREFIX

MOST_CHANGES: Final = 1_000

_ORIGINS: Final[dict[str, DocumentOrigin.ValueType]] = {
    FILE_PREFIX: DOCUMENT_ORIGIN_FILE,
    GIVEN_PREFIX: DOCUMENT_ORIGIN_GIVEN,
    PAGE_PREFIX: DOCUMENT_ORIGIN_PAGE,
}

_ENDED: Final[dict[str, IngestionStatus.ValueType]] = {
    "completed": INGESTION_STATUS_COMPLETED,
    "failed": INGESTION_STATUS_FAILED,
    "cancelled": INGESTION_STATUS_CANCELLED,
}


def ingestion_of(ingestion_id: str, last: Envelope, running: str) -> Ingestion:
    """The ingestion by its last event. `running` is the id of the one that somebody runs now."""
    event = last.ingestion
    kind = event.WhichOneof("event") or ""
    unfinished = INGESTION_STATUS_RUNNING if running == ingestion_id else INGESTION_STATUS_INTERRUPTED
    return Ingestion(
        id=ingestion_id,
        pipeline=event.pipeline,
        cause=event.cause,
        status=_ENDED.get(kind, unfinished),
        requested_unix_nano=event.requested_unix_nano,
        ended_unix_nano=last.time_unix_nano if kind in _ENDED else 0,
        counts=event.counts,
        reason=event.cancelled.reason if kind == "cancelled" else plain(event.failed.failure.message),
    )


def held_document(document_id: str) -> HeldDocument:
    """A document of a store by its id."""
    origin, _, source = document_id.partition(":")
    return HeldDocument(source=source, origin=_ORIGINS.get(f"{origin}:", DOCUMENT_ORIGIN_UNSPECIFIED))


def changes_of(events: Iterable[Envelope]) -> list[DocumentChange]:
    """The documents that changed, in order; the first thousand."""
    changes = [change for event in events for change in event.ingestion.advanced.changes]
    return changes[:MOST_CHANGES]
