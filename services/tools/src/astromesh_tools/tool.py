"""What every type of tool is to the service: a spec for the catalogue, and a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from astromesh.v1.values_pb2 import Failure, ToolResult, ToolSpec

Clock = Callable[[], int]
"""Nanoseconds since 1970."""


class Invocation(NamedTuple):
    """One call, as the engine intended it."""

    call_id: str
    arguments: str
    """JSON text, as the model wrote it."""
    idempotency_key: str
    start_before: int
    """Nanoseconds since 1970; 0: whenever."""


class Tool(Protocol):
    """One tool of one agent."""

    @property
    def spec(self) -> ToolSpec:
        """How the catalogue lists it."""
        ...

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Does it. Returns what is definite; raises TimedOut where a write has begun and nobody knows its end."""
        ...
