"""An embedder that knows the vectors of the last texts: a question is asked of two memories, and kept in one later."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from astromesh_vectors.ports import Embedder, Vectors

KEPT: Final = 2_000
"""Texts; 3 MB of vectors of 384 dimensions."""


class LatestVectors:
    """An `Embedder` over another one, which stays the caller's. Texts are known by their hash, and in memory alone."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: OrderedDict[bytes, Vectors] = OrderedDict()

    @property
    def name(self) -> str:
        """See Embedder, as for the next three."""
        return self._embedder.name

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    async def embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        known = {key: self._known[key] for key in keys if key not in fresh}
        if fresh:
            rows = await self._embedder.embed(list(fresh.values()))
            known |= dict(zip(fresh, rows, strict=True))
        for key, row in known.items():
            self._known[key] = row
            self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        rows = [known[key] for key in keys]
        return np.stack(rows) if rows else np.zeros((0, self.dimension), dtype=np.float32)

    async def close(self) -> None:
        """Forgets what it knows."""
        self._known.clear()
