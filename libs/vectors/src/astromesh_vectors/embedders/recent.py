"""Questions of a moment ago: memory and retrieval ask one text of a run each, and many users ask alike.

In memory alone, and bounded. What is kept on disk, and by content, is the cache's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from astromesh_vectors.embedders.served import CheckedEmbedder

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

MOST_KEPT: Final = 256
LONGEST: Final = 2_000
"""Characters of a text that may be a question."""


class RecentEmbedder:
    """A `CheckedEmbedder` that answers a single text that it has seen among the last 256 from memory."""

    def __init__(self, embedder: CheckedEmbedder) -> None:
        self.embedder = embedder
        self._recent: OrderedDict[str, Vectors] = OrderedDict()

    @property
    def name(self) -> str:
        """See Embedder."""
        return self.embedder.name

    @property
    def dimension(self) -> int:
        """See Embedder."""
        return self.embedder.dimension

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        if len(texts) != 1 or len(texts[0]) > LONGEST:
            return await self.embedder.embed(texts)
        (text,) = texts
        known = self._recent.get(text)
        if known is None:
            known = await self.embedder.embed(texts)
            self._recent[text] = known
            if len(self._recent) > MOST_KEPT:
                self._recent.popitem(last=False)
        else:
            self._recent.move_to_end(text)
        return known.copy()

    async def check(self) -> str:
        """See CheckedEmbedder."""
        return await self.embedder.check()

    async def close(self) -> None:
        """Forgets, and frees the model. Idempotent."""
        self._recent.clear()
        await self.embedder.close()
