"""Keeps an eye on endpoints while the router serves: what replicas write of them, and the health of every Provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.bus.observations import Observations
from astromesh_router.breakers import SharedBreakers
from astromesh_router.circuits import Clock
from astromesh_router.health import Dialects, Health
from astromesh_router.provider_checks import ProviderChecks, note_failure


@asynccontextmanager
async def observing(bus: Bus, router: str, breakers: SharedBreakers, dialects: Dialects) -> AsyncGenerator[Health]:
    """Yields what tells of candidates; stops observing afterwards. `router` names this replica, as for the breakers."""
    checks = ProviderChecks(dialects, breakers, bus.endpoints, Observations(bus), router=router, clock=Clock())
    breakers.on_change = checks.circuit_changed

    def hear(stored: StoredEndpoint) -> None:
        breakers.hear(stored)
        checks.hear(stored)

    async with bus.endpoints.watch(hear):
        following = asyncio.create_task(checks.follow(bus.resources.watch()), name="providers")
        following.add_done_callback(note_failure)
        try:
            yield Health(dialects, checks.known, breakers.refusing)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await checks.close()
            await breakers.close()
