"""Hears what services observe, from the stream of observations. What becomes of it stands in `told`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Final

from prometheus_client import CollectorRegistry

from astromesh.v1.control_pb2 import Observation
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import TemporaryError
from astromesh_core.telemetry.logs import logger

_RETRY_SECONDS: Final = 0.5

_log = logger(__name__)


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
    while True:
        try:
            async with broker:
                await asyncio.Event().wait()
        except TemporaryError as error:
            # What is told meanwhile waits in its stream: no reason to end the operator, and the mesh with it.
            _log.warning("observations are not heard yet, trying again", reason=error.message)
            await asyncio.sleep(_RETRY_SECONDS)
