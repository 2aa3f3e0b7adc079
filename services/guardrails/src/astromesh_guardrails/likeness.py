"""Texts that others are compared with by their meaning: embedded once, and near or far by the cosine."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from astromesh_core.errors import LimitExceeded
from astromesh_core.resources.embeddings import EmbeddingsSpec

if TYPE_CHECKING:
    from astromesh_vectors.embedders.served import ServedEmbedder
    from astromesh_vectors.ports import Vectors


OpenEmbedder: TypeAlias = "Callable[[EmbeddingsSpec], Awaitable[ServedEmbedder]]"
"""Raises what keeps the embedder from its work: NotSupported, InvalidInput, a TemporaryError."""

KEPT: Final = 64
MOST_COMPARED: Final = 1_000
"""Sentences of one text: two seconds of a core, at most a hundred kilobytes."""


class Likeness:
    """How near texts are to each of those that it was made for. Safe to ask from many tasks at once."""

    def __init__(self, embedder: OpenEmbedder, spec: EmbeddingsSpec, texts: Sequence[str]) -> None:
        self._embedder = embedder
        self._spec = spec
        self._texts = texts
        self._known: Vectors | None = None
        self._embedding = asyncio.Lock()

    async def prepare(self) -> None:
        """Embeds what it was made for, once. Raises what keeps the embedder from its work, now too."""
        embedder = await self._embedder(self._spec)
        await embedder.check()
        await self._of_known(embedder)

    async def nearness(self, texts: Sequence[str]) -> Vectors:
        """The cosine of each text with each of those known; `(texts, known)`."""
        return await self.vectors(texts) @ (await self.known()).T

    async def vectors(self, texts: Sequence[str]) -> Vectors:
        """The vectors of texts, one row each. Equal texts are embedded once. Raises LimitExceeded for too many."""
        distinct = bounded(texts)
        embedder = await self._embedder(self._spec)
        places = {text: place for place, text in enumerate(distinct)}
        return (await embedder.embed(distinct))[[places[text] for text in texts]]

    async def known(self) -> Vectors:
        """The vectors of those that it was made for, one row each."""
        return await self._of_known(await self._embedder(self._spec))

    async def _of_known(self, embedder: ServedEmbedder) -> Vectors:
        if self._known is None:
            async with self._embedding:
                if self._known is None:
                    # What a resource declares is no person's: its vectors may stay on disk.
                    self._known = await embedder.remembering.embed(self._texts)
        return self._known


def bounded(texts: Sequence[str]) -> list[str]:
    """The texts, each once. Raises LimitExceeded for more than a model is asked about at once."""
    distinct = list(dict.fromkeys(texts))
    if len(distinct) > MOST_COMPARED:
        told = f"the text has {len(distinct):,} sentences, and {MOST_COMPARED:,} are compared at most"
        raise LimitExceeded(f"{told}; bound it by max_length before this rule")
    return distinct


class Likenesses:
    """What the rules of all agents compare with: agents that compare with the same texts share their vectors."""

    def __init__(self, embedder: OpenEmbedder) -> None:
        self.embedder = embedder
        self._kept: OrderedDict[tuple[EmbeddingsSpec, tuple[str, ...]], Likeness] = OrderedDict()

    def of(self, spec: EmbeddingsSpec, texts: Sequence[str]) -> Likeness:
        """The one for these texts. Whoever uses one keeps it."""
        key = (spec, tuple(texts))
        likeness = self._kept.setdefault(key, Likeness(self.embedder, spec, key[1]))
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return likeness
