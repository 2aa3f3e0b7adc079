"""What an ingestion has done so far: counts, the documents that changed, those that were refused. Pure."""

from __future__ import annotations

from typing import Final

from astromesh.v1.ingestion_events_pb2 import (
    DOCUMENT_OUTCOME_ADDED,
    DOCUMENT_OUTCOME_REFUSED,
    DOCUMENT_OUTCOME_REMOVED,
    DOCUMENT_OUTCOME_REPLACED,
    DocumentChange,
    DocumentOutcome,
    IngestionCounts,
)
from astromesh.v1.rag_pb2 import IngestSummary
from astromesh_rag.intake import Outcome, Taken

MOST_REFUSED: Final = 1_000
"""Named in a summary; the others are counted."""

_LONGEST: Final = 500

_OUTCOMES: Final[dict[Outcome, DocumentOutcome.ValueType]] = {
    "added": DOCUMENT_OUTCOME_ADDED,
    "replaced": DOCUMENT_OUTCOME_REPLACED,
    "removed": DOCUMENT_OUTCOME_REMOVED,
    "refused": DOCUMENT_OUTCOME_REFUSED,
}


class Tally:
    """Counts what became of documents."""

    def __init__(self) -> None:
        self.counts = IngestionCounts()
        self._refused: list[str] = []
        self._changes: list[DocumentChange] = []

    def add(self, taken: Taken) -> None:
        """Counts one more document."""
        counts = self.counts
        counts.chunks += taken.chunks
        match taken.outcome:
            case "added":
                counts.added += 1
            case "replaced":
                counts.replaced += 1
            case "removed":
                counts.removed += 1
            case "unchanged":
                counts.unchanged += 1
            case "refused":
                counts.refused += 1
                self._refused.append(f"{taken.source}: {taken.reason}" if taken.source else taken.reason)
        if taken.outcome != "unchanged":
            self._changes.append(_change(taken))

    @property
    def pending(self) -> int:
        """How many changes were not taken yet."""
        return len(self._changes)

    def take_changes(self) -> list[DocumentChange]:
        """The changes since they were last taken."""
        changes, self._changes = self._changes, []
        return changes

    def summary(self, ingestion_id: str = "") -> IngestSummary:
        """What changed, for whoever asked."""
        counts, refused = self.counts, self._refused[:MOST_REFUSED]
        if len(self._refused) > MOST_REFUSED:
            refused.append(f"and {len(self._refused) - MOST_REFUSED} more")
        return IngestSummary(
            added=counts.added,
            replaced=counts.replaced,
            removed=counts.removed,
            unchanged=counts.unchanged,
            chunks=counts.chunks,
            refused=refused,
            ingestion_id=ingestion_id,
        )


def _change(taken: Taken) -> DocumentChange:
    return DocumentChange(
        source=taken.source[:_LONGEST],
        outcome=_OUTCOMES[taken.outcome],
        chunks=taken.chunks,
        reason=taken.reason[:_LONGEST],
    )
