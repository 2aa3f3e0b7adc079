"""What every type of tool is to the service: a spec for the catalogue, and a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from astromesh.v1.values_pb2 import Failure, StoredValue, ToolResult, ToolSpec
from astromesh_core.errors import TimedOut

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
    path: str = ""
    """Of the call in its run; "" for one by hand."""
    reader: str = ""
    """The agent's tool that reads what is cut off from results; "" where it has none."""
    cut_results: Mapping[str, StoredValue] = MappingProxyType({})
    """For a tool that reads results: the whole of those of its run that were cut, by the path of their call."""
    tell: Callable[[float, float], None] | None = None
    """Tells how far the call has come, and of how much (0: nobody knows); None where nobody can follow it."""

    def is_late(self, now: int) -> bool:
        """Whether its time to start has passed."""
        return 0 < self.start_before < now

    def check_start(self, tool: str, now: int) -> None:
        """Raises TimedOut, as the answer of the tool of that name, where its time to start has passed."""
        if self.is_late(now):
            raise TimedOut(f"{tool} was not started: its time to start had passed")


class Tool(Protocol):
    """One tool of one agent."""

    @property
    def spec(self) -> ToolSpec:
        """How the catalogue lists it."""
        ...

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Does it. Returns what is definite; raises TimedOut where a write has begun and nobody knows its end."""
        ...
