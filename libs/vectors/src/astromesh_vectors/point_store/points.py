"""What is asked of a database of points with vectors. It knows nothing of documents that are replaced as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from astromesh_core.filters import Filter, Metadata
from astromesh_vectors.passages import Kept

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors


@dataclass(frozen=True, slots=True)
class Point:
    """A passage of one generation of a document. `kept.metadata` is the JSON text of `metadata`."""

    generation: str
    document: str
    ordinal: int
    kept: Kept
    metadata: Metadata
    vector: Vectors


@dataclass(frozen=True, slots=True)
class Found:
    """A point that was found; `score` is its cosine with what was asked, 0 where nothing was."""

    point: Point
    score: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a document is now: its passages are those of this generation. Written at once, or not at all."""

    document: str
    sha256: bytes
    generation: str
    count: int
    metadata: str
    """JSON text."""
    text: str = ""
    """Left out where manifests are listed."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """Whose vectors a collection keeps."""

    model: str
    dimension: int


class Points(Protocol):
    """One collection. All methods block, and may be called from several threads at once.

    They raise one of `failures` where the database does not do its part; anything else is a bug.
    """

    @property
    def failures(self) -> tuple[type[Exception], ...]: ...

    def open(self, purpose: Purpose) -> Purpose:
        """Makes the collection where there is none, and returns what it is kept for. May be called again."""
        ...

    def add(self, points: Sequence[Point]) -> None:
        """Writes points; those of one id again, in place of what was there."""
        ...

    def discard(self, generations: Collection[str]) -> None:
        """Deletes every point of these generations."""
        ...

    def of(self, generation: str) -> list[Point]:
        """The points of a generation, in any order."""
        ...

    def nearest(self, vector: Vectors, limit: int, where: Filter | None, without: Collection[str]) -> list[Found]:
        """At most `limit` points nearest to a unit vector, of no generation of `without`, that meet the condition."""
        ...

    def manifests(self) -> list[Manifest]:
        """Every document, without its text."""
        ...

    def manifest(self, document: str) -> Manifest | None:
        """One document, with its text."""
        ...

    def declare(self, manifest: Manifest) -> None:
        """Writes a document's manifest in place of what it was."""
        ...

    def withdraw(self, document: str) -> None:
        """Deletes a document's manifest."""
        ...

    def marks(self) -> Mapping[str, str]:
        """The last mark of each writer."""
        ...

    def mark(self, writer: str, mark: str) -> None:
        """Writes a writer's mark: something has changed."""
        ...

    def close(self) -> None:
        """Lets go of connections and files."""
        ...
