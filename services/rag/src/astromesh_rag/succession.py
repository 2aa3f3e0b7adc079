"""How a pipeline comes to vectors of another model, or to another store: the old ones answer until the new are whole.

Noted beside the pipeline's documents is the last declaration whose collection held everything. So a restart in between
changes nothing: old vectors answer, new ones are made, and documents that only requests brought are carried over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.spelling import Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astromesh_vectors.ports import Vectors

FILE: Final = "whole.json"


class Whole(Spec):
    """A declaration whose collection held everything: by its model, `spec` as it was declared."""

    model: str
    dimension: int
    spec: RAGPipelineSpec


@dataclass(frozen=True, slots=True)
class LostEmbedder:
    """An `Embedder` that cannot be opened any more: it still names the vectors that it made."""

    name: str
    dimension: int
    error: AstromeshError

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises why it cannot be opened."""
        raise self.error

    async def close(self) -> None:
        """Nothing is held."""


def noted(folder: Path) -> Whole | None:
    """What was whole last; None where nothing was, or another release noted it. Blocks."""
    try:
        return Whole.from_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def note(folder: Path, whole: Whole) -> None:
    """Notes what is whole now. Blocks. Raises Unavailable."""
    written, aside = whole.to_json(), folder / f"{FILE}.new"
    try:
        if (folder / FILE).is_file() and (folder / FILE).read_text() == written:
            return
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_text(written)
        aside.replace(folder / FILE)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be written: {error.strerror or error}") from error
