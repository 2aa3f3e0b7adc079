"""What is observed of a pipeline, as conditions and figures. Telling it to the operator is done elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from astromesh.v1.control_pb2 import (
    CONDITION_STATUS_FALSE,
    CONDITION_STATUS_TRUE,
    CONDITION_STATUS_UNKNOWN,
    Condition,
    ConditionStatus,
)
from astromesh.v1.rag_pb2 import IngestSummary
from astromesh_core.errors import AstromeshError, Cancelled, Denied, InvalidInput, NotFound, NotSupported
from astromesh_rag.pipeline import Figures

CONNECTED = "StoreConnected"
LOADED = "EmbeddingModelLoaded"
COMPLETE = "IngestionComplete"
RERANKER = "RerankerLoaded"
"""Of pipelines that declare one."""

HEALTHY = "IndexHealthy"

_SHOWN = 3

_REASONS: dict[type[AstromeshError], str] = {
    NotSupported: "NotInstalled",
    NotFound: "NotFound",
    Denied: "Denied",
    InvalidInput: "WrongSettings",
}
"""Why a model is not at hand, where asking again cannot help."""


@dataclass(slots=True)
class Observed:
    """The newest observation of each type, and the figures."""

    conditions: dict[str, Condition] = field(default_factory=dict[str, Condition])
    figures: dict[str, int | float | str] = field(default_factory=dict[str, int | float | str])

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked."""
        return CONNECTED in self.conditions and self.conditions[CONNECTED].status == CONDITION_STATUS_TRUE

    def note(self, *conditions: Condition) -> None:
        """Puts conditions in place of older ones of their types."""
        for condition in conditions:
            self.conditions[condition.type] = condition

    def count(self, figures: Figures) -> None:
        """Takes what the pipeline holds, which also shows that its store can be read."""
        self.note(_true(CONNECTED, "Open"), _true(HEALTHY, "Readable"))
        self.figures = {
            "documents": figures.documents,
            "chunks": figures.chunks,
            "last_ingested_unix_seconds": figures.last_ingested_unix_nano // 1_000_000_000,
        }


def model_at_hand(reason: str) -> Condition:
    """The model can be asked. One of this process is loaded by its first use: what is observed is that it can be."""
    return _true(LOADED, reason)


def model_missing(error: AstromeshError) -> Condition:
    """The model cannot be asked: it is not there, does not answer, refuses, or makes other vectors than declared."""
    return _condition(LOADED, CONDITION_STATUS_FALSE, _REASONS.get(type(error), "NotAtHand"), error.message)


def reranker_at_hand(reason: str) -> Condition:
    """The declared reranker can be asked."""
    return _true(RERANKER, reason)


def reranker_missing(error: AstromeshError) -> Condition:
    """The declared reranker cannot be asked: queries fail with this error."""
    return _condition(RERANKER, CONDITION_STATUS_FALSE, _REASONS.get(type(error), "NotAtHand"), error.message)


def ingesting() -> Condition:
    """The declared sources are being taken in."""
    return _condition(COMPLETE, CONDITION_STATUS_UNKNOWN, "Ingesting", "the declared sources are being taken in")


def ingested(summary: IngestSummary, *, declared: bool) -> Condition:
    """The sources were taken in; documents that could not be read are named."""
    if not declared:
        return _true(COMPLETE, "NoSources")
    if not summary.refused:
        return _true(COMPLETE, "Ingested")
    more = len(summary.refused) - _SHOWN
    named = "; ".join(summary.refused[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return _condition(COMPLETE, CONDITION_STATUS_TRUE, "DocumentsRefused", named)


def failed(error: AstromeshError) -> Condition:
    """The sources could not be taken in, or somebody did not want them to be."""
    reason = "IngestionCancelled" if isinstance(error, Cancelled) else "IngestionFailed"
    return _condition(COMPLETE, CONDITION_STATUS_FALSE, reason, error.message)


def unusable(error: AstromeshError) -> list[Condition]:
    """The store cannot be read."""
    return [
        _condition(CONNECTED, CONDITION_STATUS_FALSE, "NotOpen", error.message),
        _condition(HEALTHY, CONDITION_STATUS_FALSE, "NotReadable", error.message),
    ]


def _true(kind: str, reason: str) -> Condition:
    return _condition(kind, CONDITION_STATUS_TRUE, reason, "")


def _condition(kind: str, status: ConditionStatus.ValueType, reason: str, message: str) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)
