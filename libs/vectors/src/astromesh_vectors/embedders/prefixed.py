"""An embedder that reads what its model was trained to read before questions, or before passages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from astromesh_core.resources.embedding_prefixes import Prefixes
from astromesh_vectors.ports import Embedder

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors


def for_queries(embedder: Embedder, prefixes: Prefixes) -> Embedder:
    """The embedder of questions; itself where there is nothing to write before any text. It stays the caller's."""
    return PrefixedEmbedder(embedder, prefixes, prefixes.query) if any(prefixes) else embedder


def for_passages(embedder: Embedder, prefixes: Prefixes) -> Embedder:
    """The embedder of what is found, by the same name: their vectors may be compared."""
    return PrefixedEmbedder(embedder, prefixes, prefixes.passage) if any(prefixes) else embedder


class PrefixedEmbedder:
    """An `Embedder` on another one."""

    def __init__(self, embedder: Embedder, prefixes: Prefixes, prefix: str) -> None:
        self._embedder = embedder
        self._prefix = prefix
        # What stands before questions makes no other passages.
        self.name = f"{embedder.name}/{prefixes.passage.strip()}" if prefixes.passage else embedder.name

    @property
    def dimension(self) -> int:
        """See Embedder, as for the next two."""
        return self._embedder.dimension

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return await self._embedder.embed([self._prefix + text for text in texts] if self._prefix else texts)

    async def close(self) -> None:
        """Nothing: the embedder is its owner's."""
