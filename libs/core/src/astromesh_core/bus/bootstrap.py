"""Declaring the streams on a server, as the admin: once when a mesh starts, before any service connects."""

from __future__ import annotations

from nats.js import JetStreamContext

from astromesh_core.bus.connection import connect
from astromesh_core.bus.credentials import Credentials
from astromesh_core.bus.streams import declare


async def declare_streams(url: str, *, credentials: Credentials, replicas: int = 1) -> None:
    """Makes the server hold every stream and bucket. Idempotent; `replicas` is 3 on a production cluster.

    Raises Unavailable, Denied, and Conflict where RUNS exists with other settings.
    """
    client = await connect(url, credentials=credentials, name="bootstrap")
    try:
        await declare(JetStreamContext(client), replicas)
    finally:
        await client.close()
