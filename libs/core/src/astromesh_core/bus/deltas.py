"""Pieces of replies on their way to whoever follows a run: core NATS, at most once, never stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from astromesh.v1.signal_pb2 import Delta
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.subjects import delta_subject
from astromesh_core.events.identity import partition_of_run

_HELD = 10_000


class Deltas:
    """Publishes and hears deltas. A gap shows in the offsets, and is filled from `model replied`."""

    def __init__(self, client: BusClient) -> None:
        self._client = client

    def publish(self, namespace: str, delta: Delta) -> None:
        """Sends the delta, without waiting and without a promise: it is dropped while the bus is away."""
        subject = delta_subject(namespace, partition_of_run(delta.run_id), delta.run_id)
        self._client.send(subject, delta.SerializeToString())

    @asynccontextmanager
    async def subscribe(self, namespace: str, run_id: str) -> AsyncGenerator[AsyncIterator[Delta], None]:
        """The run's deltas from now on. A reader that is 10,000 behind misses the later ones."""
        heard: asyncio.Queue[Msg] = asyncio.Queue(_HELD)

        def hear(message: Msg) -> None:
            if not heard.full():
                heard.put_nowait(message)

        listening = await self._client.listen(delta_subject(namespace, partition_of_run(run_id), run_id), hear)
        try:
            yield _decoded(heard)
        finally:
            listening.close()


async def _decoded(heard: asyncio.Queue[Msg]) -> AsyncIterator[Delta]:
    while True:
        yield Delta.FromString((await heard.get()).data)
