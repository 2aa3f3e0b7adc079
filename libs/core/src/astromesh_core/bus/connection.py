"""Opening the bus: one connection, and on it everything that a service may use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from astromesh_core.bus.credentials import Credentials
from astromesh_core.bus.permissions import inbox_of
from astromesh_core.errors import Unavailable

_CONNECT_SECONDS = 5


class Bus:
    """What a service does with events. Open it with `open_bus`."""

    def __init__(self, nc: Client, service: str) -> None:
        self.service = service
        self.nc = nc
        """The raw connection: only for what stands in core.bus."""
        self.js: JetStreamContext = nc.jetstream()
        """The raw JetStream context: only for what stands in core.bus."""


@asynccontextmanager
async def open_bus(url: str, *, service: str, credentials: Credentials, name: str) -> AsyncIterator[Bus]:
    """Connects as the service; `name` tells its connections apart in the server's listings.

    The connection comes back by itself for as long as the bus is open. Raises Unavailable where no server answers,
    Denied where it refuses the credentials.
    """
    client = await connect(url, credentials=credentials, name=f"{service}/{name}")
    try:
        yield Bus(client, service)
    finally:
        await client.close()


async def connect(url: str, *, credentials: Credentials, name: str) -> Client:
    """A connection that returns by itself, and tells no reply to others."""

    async def quiet(error: Exception) -> None:
        del error

    client = Client()
    try:
        await client.connect(
            url,
            name=name,
            user=credentials.user,
            password=credentials.password,
            inbox_prefix=inbox_of(credentials.user),
            error_cb=quiet,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            connect_timeout=_CONNECT_SECONDS,
            allow_reconnect=True,
        )
    except (nats.errors.Error, OSError) as error:
        raise Unavailable(f"no connection to {url}: {error}") from error
    return client
