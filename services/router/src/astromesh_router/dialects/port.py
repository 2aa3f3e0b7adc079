"""What a dialect is: it streams one model's reply. Which model is asked, and what follows, is decided elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate


@dataclass(frozen=True)
class Thought:
    """A delta of what the model thinks before it answers. It is no part of the answer's text."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """One block of what a model thought, as its vendor hands it out.

    `signature` is opaque and goes back unchanged; `redacted` says that the vendor keeps the text to itself.
    """

    text: str
    signature: str = ""
    redacted: bool = False


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
    reasoning: tuple[Reasoning, ...] = ()


Delta = str | Thought
"""A piece of the answer's text, or of the thinking before it."""

Part = Delta | Reply
"""A delta, or the reply that ends the stream. An empty text says only that the model is at work."""


class Dialect(Protocol):
    """Talks to models in one way."""

    def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        """Yields deltas and then exactly one Reply, last; their texts joined are the reply's.

        `prefill` is the beginning of the assistant's answer, which the model continues: it is in neither the deltas nor
        the Reply. It is given only where the candidate's profile says `continues`. Closing the generator stops the
        model at once. Raises CandidateFailed and nothing else.
        """
        ...

    async def models(self, candidate: Candidate) -> list[str]:
        """Lists the models that the provider offers now. Raises CandidateFailed where it does not answer."""
        ...
