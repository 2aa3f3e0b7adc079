"""Hears what services observe, from the stream of observations. What becomes of it stands in `told`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module

from prometheus_client import CollectorRegistry

from astromesh.v1.control_pb2 import Observation
from astromesh_core.bus.connection import Bus


async def listen(bus: Bus, heard: Callable[[Observation], None], registry: CollectorRegistry) -> None:
    """Calls `heard` with every observation, at least once each and in order, until it is cancelled."""
    # FastStream takes a third of a second to import, which the start of a mesh need not wait for.
    await asyncio.to_thread(import_module, "astromesh_core.bus.broker")
    from astromesh_core.bus.broker import Broker
    from astromesh_core.bus.observations import consume_observations

    async def handle(observation: Observation) -> None:
        heard(observation)

    broker = Broker(bus, registry=registry)
    consume_observations(broker, handle)
    async with broker:
        await asyncio.Event().wait()
