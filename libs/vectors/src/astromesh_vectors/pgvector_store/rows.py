"""What stands in a collection's rows, and how it comes back. PostgreSQL's text takes everything but NUL.

U+0000 is kept as U+001A and `0`, U+001A as U+001A and `1`: other text stands as it is, for whoever reads the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from pgvector import Vector

from astromesh_core.filters import LARGEST_INTEGER, MetadataValue
from astromesh_vectors.passages import Kept, passage_of
from astromesh_vectors.ports import Match

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

COLUMNS: Final = "d.id, p.ordinal, p.source, p.first, p.past, p.headings, p.text, p.metadata, p.embedding"
"""What `read` reads, of a passage `p` and its document `d`."""

_ESCAPES = str.maketrans({"\0": "\x1a0", "\x1a": "\x1a1"})


class PassageRow(NamedTuple):
    """A passage as a query gives it."""

    document: str
    ordinal: int
    source: str
    first: int
    past: int
    headings: list[str]
    text: str
    metadata: dict[str, MetadataValue]
    embedding: Vector


def stored(text: str) -> str:
    """The text without NUL. `original` undoes it."""
    return text.translate(_ESCAPES)


def original(text: str) -> str:
    """The text that `stored` was given."""
    return text.replace("\x1a0", "\0").replace("\x1a1", "\x1a") if "\x1a" in text else text


def key_of(document: str) -> bytes:
    """What a document's row is known by."""
    return hashlib.sha256(document.encode()).digest()


def metadata_of(stored_values: Mapping[str, MetadataValue]) -> dict[str, MetadataValue]:
    """Metadata as it was given: PostgreSQL writes a large double in digits, as an integer."""
    return {key: _number(value) if type(value) is int else value for key, value in stored_values.items()}


def _number(value: int) -> int | float:
    return value if abs(value) <= LARGEST_INTEGER else float(value)


def read(row: PassageRow, score: float) -> Match:
    """The passage of a row with its vector."""
    metadata = json.dumps(metadata_of(row.metadata), sort_keys=True, ensure_ascii=False)
    headings = tuple(map(original, row.headings))
    kept = Kept(original(row.source), row.first, row.past, headings, original(row.text), metadata)
    passage = passage_of(original(row.document), row.ordinal, kept)
    passage.score = score
    return Match(passage, vector_of(row.embedding))


def vector_of(embedding: Vector) -> Vectors:
    """As an array of its own."""
    return np.asarray(embedding.to_numpy(), dtype="<f4")
