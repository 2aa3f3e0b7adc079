"""The protocol of rerankers, users' own included.

    provider: "my_package.my_module:MyReranker"

The class is found in the config folder's `rerankers/`, then on the Python path. It is made once for each declaration
that names it, in a thread, with keyword arguments `model`, `endpoint` and `api_key`, and kept; one with an async
`close()` is closed when its service stops. `scores` runs on the service's event loop, which it must not block. Errors
are those of `astromesh_core.errors`; any other one counts as Unavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class RerankerProtocol(Protocol):
    """Judges how well texts answer a question, reading both together. Nothing has to be inherited."""

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One number a text, in their order: the more, the better it answers. The same question and text, the same.

        0 and less say that the text answers nothing: such a passage is found, and is no knowledge of an agent.
        At most 100 texts at a time.
        """
        ...


class RerankerClass(Protocol):
    """How a reranker is made."""

    def __call__(self, *, model: str, endpoint: str, api_key: str) -> RerankerProtocol: ...


class ServedReranker(RerankerProtocol, Protocol):
    """A reranker as `Rerankers` hands it out: it answers numbers, as many as there are texts, or raises."""

    async def check(self) -> str:
        """Says in a word how it is at hand, as the reason of a condition. Raises what `scores` would raise."""
        ...

    async def close(self) -> None:
        """Frees the model. Idempotent."""
        ...
