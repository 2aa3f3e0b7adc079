"""What a dialect is: it streams one model's reply. Which model is asked, and what follows, is decided elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate


@dataclass(frozen=True)
class WrittenCall:
    """A tool call as the model wrote it: the id may be missing, the arguments may be no JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """A complete reply. `usage` is None where the provider reported none; `finish_reason` is one of the contract's."""

    text: str
    calls: tuple[WrittenCall, ...]
    finish_reason: str
    usage: Usage | None


Part = str | Reply
"""A delta of text, or the reply that ends the stream. An empty delta says only that the model is at work."""


class Dialect(Protocol):
    """Talks to models in one way."""

    def stream(self, candidate: Candidate, request: CompleteRequest) -> AsyncGenerator[Part, None]:
        """Yields deltas and then exactly one Reply, last; their texts joined are the reply's.

        Closing the generator stops the model at once. Raises CandidateFailed and nothing else.
        """
        ...

    async def models(self, candidate: Candidate) -> list[str]:
        """Lists the models that the provider offers now. Raises CandidateFailed where it does not answer."""
        ...
