"""Opening the bus: one connection, and on it everything that a service may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import nats.errors
from nats.js import JetStreamContext

from astromesh_core.bus.budget_store import BudgetStore
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.credentials import Credentials
from astromesh_core.bus.dead_letters import DeadLetters
from astromesh_core.bus.deltas import Deltas
from astromesh_core.bus.endpoint_store import EndpointStore
from astromesh_core.bus.ingestion_store import IngestionStore
from astromesh_core.bus.loads import Loads
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.permissions import inbox_of
from astromesh_core.bus.resource_store import ResourceStore
from astromesh_core.bus.shared_feed import SharedFeed
from astromesh_core.bus.signals import Signals
from astromesh_core.bus.status_store import StatusStore
from astromesh_core.bus.tool_progress import ToolProgresses
from astromesh_core.bus.values import ValueStore
from astromesh_core.errors import Denied, Unavailable

_CONNECT_SECONDS = 5.0
_RECONNECT_PAUSE_SECONDS = 0.1
_PING_SECONDS = 5


class BusHealth(NamedTuple):
    """How one part of the bus is, with the reason where it is not well."""

    name: str
    ok: bool
    reason: str


class Bus:
    """What a service does with events. Open it with `open_bus`."""

    def __init__(self, nc: BusClient, service: str) -> None:
        self.service = service
        self.nc = nc
        """The raw connection: only for what stands in core.bus."""
        self.js = JetStreamContext(nc)
        """The raw JetStream context: only for what stands in core.bus."""
        self.shared_feed = SharedFeed(nc)
        """The log as it is read for every `Projection` on this connection."""
        self.log = EventLog(nc, feed=self.shared_feed)
        self.values = ValueStore(nc)
        self.deltas = Deltas(nc)
        self.tool_progress = ToolProgresses(nc)
        self.loads = Loads(nc)
        self.signals = Signals(nc)
        self.resources = ResourceStore(nc, self.values)
        self.status = StatusStore(nc)
        self.budgets = BudgetStore(nc)
        self.endpoints = EndpointStore(nc)
        self.ingestions = IngestionStore(nc)
        self.dead_letters = DeadLetters(nc, service)
        self._checks: list[Callable[[], BusHealth]] = [self._connected, self._has_room]

    def add_check(self, check: Callable[[], BusHealth]) -> Callable[[], None]:
        """Makes a consumer or a watcher part of the bus's health, until the returned function is called (once)."""
        self._checks.append(check)
        return lambda: self._checks.remove(check)

    def health(self) -> list[BusHealth]:
        """The connection and everything that reads from it."""
        return [check() for check in self._checks]

    def _connected(self) -> BusHealth:
        ok = self.nc.is_connected
        return BusHealth("bus", ok, "" if ok else "the connection to nats-server is down and being restored")

    def _has_room(self) -> BusHealth:
        full = self.log.full
        return BusHealth("event store", not full, f"the server's store is full: {full}" if full else "")


@asynccontextmanager
async def open_bus(url: str, *, service: str, credentials: Credentials, name: str) -> AsyncGenerator[Bus, None]:
    """Connects as the service; `name` tells its connections apart in the server's listings.

    The connection comes back by itself for as long as the bus is open. Raises Unavailable where no server answers,
    Denied where it refuses the credentials.
    """
    client = await connect(url, credentials=credentials, name=f"{service}/{name}")
    try:
        yield Bus(client, service)
    finally:
        await client.close()


async def connect(url: str, *, credentials: Credentials, name: str) -> BusClient:
    """A connection that comes back by itself. Raises like `open_bus`; the caller closes it."""
    client = BusClient()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await client.connect(
                url,
                name=name,
                user=credentials.user,
                password=credentials.password,
                inbox_prefix=inbox_of(credentials.user),
                error_cb=client.note_error,
                disconnected_cb=client.lost,
                reconnected_cb=client.restored,
                # The first attempt must tell a wrong password from a server that is starting; see below.
                allow_reconnect=False,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_PAUSE_SECONDS,  # pyright: ignore[reportArgumentType] - seconds; fractions are accepted
                ping_interval=_PING_SECONDS,
                skip_subject_validation=True,
            )
    except asyncio.CancelledError:
        await client.close()
        raise
    except (nats.errors.Error, OSError, TimeoutError) as error:
        await client.close()
        if "authorization violation" in str(error).lower():
            raise Denied(f"{url} refuses the credentials of {credentials.user}") from error
        raise Unavailable(f"no connection to {url}: {error or 'no answer'}") from error
    client.options["allow_reconnect"] = True
    await client.start()
    return client
