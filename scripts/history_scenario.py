"""What a recorded run is: an agent, what it meets, and what happens while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_testing.services import FakeServices

After = Callable[[Bus, Aggregate], Awaitable[None]]
Follows = Callable[[Bus, ResourceRef], Awaitable[dict[str, Any]]]


async def nothing(bus: Bus, run: Aggregate) -> None:
    """Most runs end by themselves."""
    del bus, run


async def no_other(bus: Bus, agent: ResourceRef) -> dict[str, Any]:
    """Most runs begin by themselves."""
    del bus, agent
    return {}


@dataclass
class Scenario:
    """What an agent is, what it meets, and what happens while it runs."""

    services: FakeServices = field(default_factory=FakeServices)
    spec: dict[str, Any] = field(default_factory=dict[str, Any])
    query: str = "what is it?"
    session: str = ""
    asked: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of `requested`, beside these."""
    agents: tuple[str, ...] = ()
    """Others that there are, of the same services."""
    after: After = nothing
    follows: Follows = no_other
    """Makes the run that this one follows from, of this version of the agent; more of `requested` comes of it."""
