"""A fake embedder: texts that share words are near each other. Nothing is loaded."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]


class WordEmbedder:
    """Gives each word a direction of its own and each text the sum of its words'. `delay` seconds pass with every call.

    `embedded` are the texts so far.
    """

    name = "words"

    def __init__(self, dimension: int = 64, *, delay: float = 0.0) -> None:
        self.dimension = dimension
        self.embedded: list[str] = []
        self._delay = delay

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit row per text."""
        import numpy as np

        await asyncio.sleep(self._delay)
        self.embedded += texts
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % self.dimension] += 1.0
            row[0] += 1e-3  # an empty text has a direction too
            row /= np.linalg.norm(row)
        return rows

    @property
    def remembering(self) -> Self:
        """Itself: it remembers nothing."""
        return self

    async def check(self) -> str:
        """Always at hand."""
        return "AtHand"

    async def close(self) -> None:
        """Nothing is held."""
