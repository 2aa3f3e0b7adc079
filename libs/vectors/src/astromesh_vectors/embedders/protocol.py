"""The protocol of users' own embedders.

    provider: "my_package.my_module:MyEmbedder"

The class is found in the config folder's `embedders/`, then on the Python path. It is made once for each declaration
that names it, in a thread, with keyword arguments `model`, `endpoint`, `api_key` and `dimension` (None where nothing is
declared), and kept; one with an async `close()` is closed when its service stops. `embed` runs on the service's event
loop, which it must not block. Errors are those of `astromesh_core.errors`; any other one counts as Unavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class EmbedderProtocol(Protocol):
    """Turns texts into vectors whose cosine says how near their meanings are. Nothing has to be inherited."""

    @property
    def dimension(self) -> int:
        """How many numbers each vector has: always as many."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector a text, in order, of any length but none that is zero; a numpy array will do.

        At most 32 texts at a time, an empty one among them now and then. The same text has the same vector.
        """
        ...


class EmbedderClass(Protocol):
    """How an embedder is made."""

    def __call__(self, *, model: str, endpoint: str, api_key: str, dimension: int | None) -> EmbedderProtocol: ...
