"""Passages as stores keep them and give them back: checked before anything is written, named, hashed. Asks no store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from astromesh.v1.values_pb2 import Passage
from astromesh_core.errors import InvalidInput
from astromesh_core.filters import Metadata, MetadataValue, checked_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astromesh_vectors.ports import Vectors


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store keeps of a passage; `metadata` is JSON text of all that filters see."""

    source: str
    start: int
    end: int
    headings: tuple[str, ...]
    text: str
    metadata: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A document that can be written: its metadata, each passage's own with it, and a unit vector a passage."""

    metadata: dict[str, MetadataValue]
    each: list[dict[str, MetadataValue]]
    units: Vectors


def checked(
    document: str, passages: Sequence[Passage], vectors: Vectors, metadata: Metadata | None, dimension: int
) -> Checked:
    """Checks what `VectorStore.put` was given. Raises InvalidInput that names the document and what is wrong."""
    from astromesh_vectors.unit import unit_rows

    if len(vectors) != len(passages):
        raise InvalidInput(f"document {document!r} has {len(passages)} passages but {len(vectors)} vectors")
    for passage in passages:
        if passage.text.WhichOneof("form") != "text":
            raise InvalidInput(f"document {document!r} has a passage at {passage.start} without plain text")
    common = checked_metadata(metadata or {})
    each = [checked_metadata({**common, **_own(document, passage)}) for passage in passages]
    return Checked(common, each, unit_rows(vectors, dimension))


def _own(document: str, passage: Passage) -> Mapping[str, object]:
    if not passage.metadata_json:
        return {}
    try:
        value: object = json.loads(passage.metadata_json)
    except ValueError as error:
        raise InvalidInput(f"document {document!r}: a passage's metadata is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"document {document!r}: a passage's metadata is no JSON object")
    return cast("Mapping[str, object]", value)


def passage_of(document: str, ordinal: int, kept: Kept) -> Passage:
    """The passage as it is found, `id` (document and ordinal) and `sha256` (of its text) set."""
    passage = Passage(
        id=f"{document}#{ordinal}",
        source=kept.source,
        start=kept.start,
        end=kept.end,
        headings=kept.headings,
        sha256=hashlib.sha256(kept.text.encode()).digest(),
        metadata_json=kept.metadata,
    )
    passage.text.text = kept.text  # half the time of a Content that is copied into it
    return passage
