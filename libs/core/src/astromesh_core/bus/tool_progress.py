"""How far tools have come, on its way to whoever follows a run: core NATS, at most once, never stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from astromesh.v1.signal_pb2 import ToolProgress
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.subjects import tool_progress_subject
from astromesh_core.events.identity import partition_of_run

_HELD = 1_000


class ToolProgresses:
    """Publishes and hears how far the tools of a run have come."""

    def __init__(self, client: BusClient) -> None:
        self._client = client

    def publish(self, namespace: str, progress: ToolProgress) -> None:
        """Sends it, without waiting and without a promise."""
        subject = tool_progress_subject(namespace, partition_of_run(progress.run_id), progress.run_id)
        self._client.send(subject, progress.SerializeToString())

    @asynccontextmanager
    async def subscribe(self, namespace: str, run_id: str) -> AsyncGenerator[AsyncIterator[ToolProgress], None]:
        """What is told of the run's tools from now on; a reader that is far behind misses some."""
        heard: asyncio.Queue[Msg] = asyncio.Queue(_HELD)

        def hear(message: Msg) -> None:
            if not heard.full():
                heard.put_nowait(message)

        listening = await self._client.listen(tool_progress_subject(namespace, partition_of_run(run_id), run_id), hear)
        try:
            yield _decoded(heard)
        finally:
            listening.close()


async def _decoded(heard: asyncio.Queue[Msg]) -> AsyncIterator[ToolProgress]:
    while True:
        yield ToolProgress.FromString((await heard.get()).data)
