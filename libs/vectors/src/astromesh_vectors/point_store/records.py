"""What stands beside the vectors of a database of points: the fields that a passage, a manifest, a mark and a purpose
have in each of them. Headings and texts are not here: every database keeps those in its own way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypedDict, cast

import numpy as np

from astromesh_vectors.passages import Kept
from astromesh_vectors.point_store.points import Manifest, Point, Purpose

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from astromesh_core.resources.stores import Metric

KIND: Final = "kind"
"""The field that tells manifests, marks and the purpose apart, which lie together."""

MANIFEST: Final = "manifest"
MARK: Final = "mark"
PURPOSE: Final = "purpose"

Fields = Mapping[str, object]


class PassageFields(TypedDict):
    """Of a passage."""

    generation: str
    document: str
    ordinal: int
    source: str
    start: int
    end: int
    metadata: str


class ManifestFields(TypedDict):
    """Of a manifest."""

    document: str
    sha256: str
    generation: str
    count: int
    metadata: str


def documents_of(collection: str) -> str:
    """The name of the collection beside the one of passages."""
    return f"{collection}-documents"


def of_passage(point: Point) -> PassageFields:
    """What is written of a passage."""
    kept = point.kept
    return PassageFields(
        generation=point.generation,
        document=point.document,
        ordinal=point.ordinal,
        source=kept.source,
        start=kept.start,
        end=kept.end,
        metadata=kept.metadata,
    )


def point_of(fields: Fields, headings: Iterable[str], text: str, vector: ArrayLike) -> Point:
    """The passage that was written so."""
    had = cast("PassageFields", fields)
    kept = Kept(had["source"], had["start"], had["end"], tuple(headings), text, had["metadata"])
    row = np.asarray(vector, dtype="<f4")
    return Point(had["generation"], had["document"], had["ordinal"], kept, json.loads(kept.metadata), row)


def of_manifest(manifest: Manifest) -> ManifestFields:
    """What is written of a manifest."""
    return ManifestFields(
        document=manifest.document,
        sha256=manifest.sha256.hex(),
        generation=manifest.generation,
        count=manifest.count,
        metadata=manifest.metadata,
    )


def manifest_of(fields: Fields, text: str = "") -> Manifest:
    """The manifest that was written so."""
    had = cast("ManifestFields", fields)
    sha256 = bytes.fromhex(had["sha256"])
    return Manifest(had["document"], sha256, had["generation"], had["count"], had["metadata"], text)


def of_mark(writer: str, mark: str) -> dict[str, str]:
    """What is written of a writer's mark."""
    return {"writer": writer, "mark": mark}


def marks_of(each: Iterable[Fields]) -> dict[str, str]:
    """The marks that were written so, by writer."""
    return {str(fields["writer"]): str(fields["mark"]) for fields in each}


def of_purpose(purpose: Purpose) -> dict[str, str | int]:
    """What is written of a purpose."""
    return {"model": purpose.model, "dimension": purpose.dimension}


def purpose_of(fields: Fields) -> Purpose:
    """The purpose that was written so."""
    return Purpose(str(fields["model"]), int(str(fields["dimension"])))


def cosine_of(distance: float, metric: Metric, *, squared: bool = False) -> float:
    """The cosine of two unit vectors at a distance: Euclid's (or its square), or one minus their product."""
    if metric != "l2":
        return 1.0 - distance
    return 1.0 - (distance if squared else distance * distance) / 2.0
