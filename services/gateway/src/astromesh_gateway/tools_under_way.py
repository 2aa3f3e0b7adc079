"""How far the tools of a followed run have come, of a run alone that servers offer tools: nobody else tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.signal_pb2 import ToolProgress
from astromesh_core.bus.tool_progress import ToolProgresses
from astromesh_core.errors import TemporaryError


class ToolsUnderWay:
    """Listens from the run's start on, where it is told of the start."""

    def __init__(
        self, told_by: ToolProgresses, namespace: str, run_id: str, told: Callable[[ToolProgress], Awaitable[None]]
    ) -> None:
        self._told_by = told_by
        self._namespace = namespace
        self._run_id = run_id
        self._told = told
        self._listening: asyncio.Task[None] | None = None

    def take(self, envelope: Envelope) -> None:
        """An event of the run has come."""
        started = envelope.run.started if envelope.run.HasField("started") else None
        if started is None or self._listening is not None:
            return
        if any(tool.HasField("origin") for tool in started.tools):
            self._listening = asyncio.create_task(self._listen(), name=f"tools of {self._run_id}")

    async def close(self) -> None:
        """Listens no more."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            async with self._told_by.subscribe(self._namespace, self._run_id) as progresses:
                async for progress in progresses:
                    await self._told(progress)
        except TemporaryError:
            # The bus is away for a moment: what is told meanwhile is lost, as it may be at any time.
            return
