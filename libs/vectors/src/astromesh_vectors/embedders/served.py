"""What services see of an embedder that is open: the port, whether it can do its work, and what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from astromesh_vectors.embedders.cache import RememberingEmbedder, VectorCache
from astromesh_vectors.ports import Embedder

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors


class CheckedEmbedder(Embedder, Protocol):
    """An embedder that can be asked how it is."""

    async def check(self) -> str:
        """Says in a word how it is at hand, as the reason of a condition. Costs no loading of a model of this process.

        Raises what `embed` would raise: what is missing, what refuses, or a dimension that is not the declared one.
        """
        ...


class ServedEmbedder(CheckedEmbedder, Protocol):
    """An embedder as `Embedders` hands it out."""

    @property
    def remembering(self) -> Embedder:
        """The same embedder for texts that come again, as documents do: each is embedded once.

        Their vectors stay on disk beyond the texts themselves, so what a person says is not for it.
        """
        ...


class CachedEmbedder:
    """A `ServedEmbedder` on a model."""

    def __init__(self, embedder: CheckedEmbedder, cache: VectorCache) -> None:
        self._embedder = embedder
        self._remembering = RememberingEmbedder(embedder, cache)

    @property
    def name(self) -> str:
        """See Embedder."""
        return self._embedder.name

    @property
    def dimension(self) -> int:
        """See Embedder."""
        return self._embedder.dimension

    @property
    def remembering(self) -> Embedder:
        """See ServedEmbedder."""
        return self._remembering

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        return await self._embedder.embed(texts)

    async def check(self) -> str:
        """See CheckedEmbedder."""
        return await self._embedder.check()

    async def close(self) -> None:
        """Frees the model. Idempotent."""
        await self._embedder.close()
