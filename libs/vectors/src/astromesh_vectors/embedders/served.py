"""What services see of an embedder that is open: the port, and the question whether it can do its work."""

from __future__ import annotations

from typing import Protocol

from astromesh_vectors.ports import Embedder


class ServedEmbedder(Embedder, Protocol):
    """An embedder that can be asked how it is."""

    async def check(self) -> str:
        """Says in a word how it is at hand, as the reason of a condition. Costs no loading of a model of this process.

        Raises what `embed` would raise: what is missing, what refuses, or a dimension that is not the declared one.
        """
        ...
