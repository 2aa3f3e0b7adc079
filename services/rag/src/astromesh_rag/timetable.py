"""The appointments of schedules: each is kept once in the whole mesh, and of those missed meanwhile the last one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress

from astromesh.v1.ingestion_events_pb2 import IngestionDue
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.schedules import Schedules, StoredDue
from astromesh_core.errors import Conflict
from astromesh_core.resources.rag_pipeline import Ingestion
from astromesh_rag.schedule import name_of, newest_due, next_due


class Timetable:
    """What is due when. `now` is Unix time in seconds."""

    def __init__(self, schedules: Schedules, now: Callable[[], float] = time.time) -> None:
        self._schedules = schedules
        self._now = now

    async def begin(self, ref: ResourceRef, ingestion: Ingestion) -> None:
        """Counts from now on, where the schedule is a new one."""
        if ingestion.schedule is not None:
            await self._known(ref, ingestion)

    async def seconds_left(self, ref: ResourceRef, ingestion: Ingestion) -> float | None:
        """How long until the next appointment; 0 where one was missed, None where there is no schedule."""
        if ingestion.schedule is None:
            return None
        stored = await self._known(ref, ingestion)
        due = next_due(ingestion, _dealt_with(stored))
        return None if due is None else max(0.0, due - self._now())

    def next_due(self, ingestion: Ingestion) -> int:
        """When it is due next, in Unix seconds; 0: never."""
        return int(next_due(ingestion, self._now()) or 0)

    async def appointment(self, ref: ResourceRef, ingestion: Ingestion) -> Appointment | None:
        """The one that is to be kept now; None where there is none."""
        if ingestion.schedule is None:
            return None
        due = newest_due(ingestion, _dealt_with(await self._known(ref, ingestion)), self._now())
        return Appointment(self._schedules, ref, name_of(ingestion), int(due)) if due is not None else None

    async def _known(self, ref: ResourceRef, ingestion: Ingestion) -> StoredDue:
        """The record of this very schedule, begun now where there is none: what was due before is nobody's concern."""
        stored = await self._schedules.get(ref.namespace, ref.name)
        if stored.record is not None and stored.record.schedule == name_of(ingestion):
            return stored
        record = IngestionDue(schedule=name_of(ingestion), dealt_with_unix_seconds=int(self._now()))
        with suppress(Conflict):
            await self._schedules.put(ref.namespace, ref.name, record, expected=stored.revision)
        return await self._schedules.get(ref.namespace, ref.name)


class Appointment:
    """One time at which a schedule is due. Whoever holds the pipeline's lease asks whether it stands, and keeps it."""

    def __init__(self, schedules: Schedules, ref: ResourceRef, schedule: str, due: int) -> None:
        self.due = due
        self._schedules = schedules
        self._ref = ref
        self._schedule = schedule

    @property
    def id(self) -> str:
        """Of its ingestion: the same for every replica, so that it begins once."""
        name = hashlib.sha256(f"{self._ref.namespace}/{self._ref.name} {self._schedule}".encode()).hexdigest()
        return f"{self.due * 1000:011x}{name[:10]}"

    async def stands(self) -> bool:
        """Whether nobody kept it yet."""
        stored = await self._schedules.get(self._ref.namespace, self._ref.name)
        record = stored.record
        return record is not None and record.schedule == self._schedule and record.dealt_with_unix_seconds < self.due

    async def keep(self) -> None:
        """Counts it as kept."""
        stored = await self._schedules.get(self._ref.namespace, self._ref.name)
        record = IngestionDue(schedule=self._schedule, dealt_with_unix_seconds=self.due)
        # Another's write is a changed schedule's: then this appointment is nobody's concern any more.
        with suppress(Conflict):
            await self._schedules.put(self._ref.namespace, self._ref.name, record, expected=stored.revision)


def _dealt_with(stored: StoredDue) -> int:
    return stored.record.dealt_with_unix_seconds if stored.record is not None else 0
