"""One loaded MiniLM for all services of a process that use the same data folder: the model is 90 MB, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astromesh_core.errors import Unavailable
from astromesh_vectors.minilm.embedder import MiniLMEmbedder
from astromesh_vectors.minilm.graph import DIMENSION

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors


REST_SECONDS = 30.0
"""Without a call for so long, the model is freed: a mesh that nobody asks anything holds no model."""


class _Held:
    """An embedder and how many use it."""

    def __init__(self, embedder: MiniLMEmbedder) -> None:
        self.embedder = embedder
        self.users = 0


_HELD: dict[Path, _Held] = {}


class SharedMiniLM:
    """An `Embedder` on the process's one model of a data folder. The last of them to be closed frees the model.

    Made and closed on the event loop's thread.
    """

    name = MiniLMEmbedder.name
    dimension = DIMENSION

    def __init__(self, data: Path) -> None:
        self._folder = data.absolute()
        self._held = _HELD.setdefault(self._folder, _Held(MiniLMEmbedder(self._folder, rest_after=REST_SECONDS)))
        self._held.users += 1
        self._closed = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See MiniLMEmbedder."""
        if self._closed:
            raise Unavailable("the embedder is closed")
        return await self._held.embedder.embed(texts)

    async def close(self) -> None:
        """Leaves the model to the others, or frees it. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._held.users -= 1
        if self._held.users == 0:
            del _HELD[self._folder]
            await self._held.embedder.close()
