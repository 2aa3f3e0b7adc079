"""A document as points: what is written of it, and what is declared. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from astromesh_core.filters import Metadata
from astromesh_vectors.passages import Kept
from astromesh_vectors.point_store.points import Manifest, Point

if TYPE_CHECKING:
    from astromesh.v1.values_pb2 import Passage
    from astromesh_vectors.passages import Checked


def written(
    document: str, sha256: bytes, generation: str, passages: Sequence[Passage], content: Checked
) -> tuple[list[Point], Manifest]:
    """The points of a generation, and the manifest that shows them."""
    points = [
        Point(generation, document, ordinal, _kept(passage, metadata), metadata, vector)
        for ordinal, (passage, metadata, vector) in enumerate(zip(passages, content.each, content.units, strict=True))
    ]
    return points, Manifest(document, sha256, generation, len(points), _json(content.metadata))


def _kept(passage: Passage, metadata: Metadata) -> Kept:
    text, headings = passage.text.text, tuple(passage.headings)
    return Kept(passage.source, passage.start, passage.end, headings, text, _json(metadata))


def _json(metadata: Metadata) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False)
