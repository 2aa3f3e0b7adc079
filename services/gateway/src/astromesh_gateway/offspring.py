"""The children of a followed run, at whatever depth: their stored events, told beside the run's own.

They are told as they are stored, from the child's first event on, and are no positions to resume from. A child that had
ended when following began is not told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from astromesh.v1.envelope_pb2 import Envelope
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.events.chain import StoredEvent


@dataclass(frozen=True, slots=True)
class ChildEvent:
    """A stored event of a child."""

    run_id: str
    event: StoredEvent


class Offspring:
    """Follows the children that it is told of, and theirs. `async with`: leaving follows none of them any more."""

    def __init__(self, log: EventLog, namespace: str, told: Callable[[ChildEvent], Awaitable[None]]) -> None:
        self._log = log
        self._namespace = namespace
        self._told = told
        self._noted: dict[str, str] = {}
        self._following: dict[str, asyncio.Task[None]] = {}

    def note(self, envelope: Envelope) -> None:
        """Takes an event that is not told itself: of children that are open after it, `follow` tells."""
        run = envelope.run
        if run.HasField("child_started"):
            self._noted[run.child_started.path] = run.child_started.child_run_id
        elif run.HasField("child_finished"):
            self._noted.pop(run.child_finished.path, None)

    def follow(self, envelope: Envelope) -> None:
        """Takes an event that is told."""
        run = envelope.run
        if self._noted:
            for child in self._noted.values():
                self._begin(child)
            self._noted.clear()
        if run.HasField("child_started"):
            self._begin(run.child_started.child_run_id)

    async def close(self) -> None:
        """Follows no more."""
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)

    def _begin(self, run_id: str) -> None:
        if run_id not in self._following:
            task = asyncio.create_task(self._follow(run_id), name=f"child {run_id}")
            self._following[run_id] = task

    async def _follow(self, run_id: str) -> None:
        async with aclosing(self._log.follow(run_aggregate(self._namespace, run_id))) as events:
            async for event in events:
                self.follow(event.envelope)
                await self._told(ChildEvent(run_id, event))
