"""Texts that others are compared with by their meaning: embedded once, and near or far by the cosine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_guardrails.sources import Sources

if TYPE_CHECKING:
    from astromesh_vectors.embedders.served import ServedEmbedder
    from astromesh_vectors.ports import Vectors


class Likeness:
    """How near texts are to each of those that it was made for. Safe to ask from many tasks at once."""

    def __init__(self, sources: Sources, spec: EmbeddingsSpec, texts: Sequence[str]) -> None:
        self._sources = sources
        self._spec = spec
        self._texts = texts
        self._known: Vectors | None = None
        self._embedding = asyncio.Lock()

    async def prepare(self) -> None:
        """Embeds what it was made for, once. Raises what keeps the embedder from its work."""
        await self._of_known(await self._sources.embedder(self._spec))

    async def nearness(self, texts: Sequence[str]) -> Vectors:
        """The cosine of each text with each of those known; `(texts, known)`. Equal texts are embedded once."""
        embedder = await self._sources.embedder(self._spec)
        known = await self._of_known(embedder)
        distinct = list(dict.fromkeys(texts))
        places = {text: place for place, text in enumerate(distinct)}
        cosines = await embedder.embed(distinct) @ known.T
        return cosines[[places[text] for text in texts]]

    async def _of_known(self, embedder: ServedEmbedder) -> Vectors:
        if self._known is None:
            async with self._embedding:
                if self._known is None:
                    # What a resource declares is no person's: its vectors may stay on disk.
                    self._known = await embedder.remembering.embed(self._texts)
        return self._known
