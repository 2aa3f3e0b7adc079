"""Asks agents when their schedules are due: once in the whole mesh, and late rather than never.

Every gateway tries, for a run's id follows from schedule and time: the log takes the first and knows the others again.
So nobody keeps what was done, and what was missed is found by looking back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple, cast

import orjson

from astromesh.v1.control_pb2 import ResourceRecord
from astromesh.v1.run_events_pb2 import SURFACE_SCHEDULE
from astromesh_core.errors import AstromeshError, Conflict, TemporaryError
from astromesh_core.resources import cron
from astromesh_core.resources.agent_schedules import AgentSchedule
from astromesh_core.rpc.identity import Caller
from astromesh_core.telemetry.logs import logger
from astromesh_gateway.admission import Admission, AskedRun
from astromesh_gateway.directory import Directory

RETRY_SECONDS: Final = 15.0
LONGEST_SECONDS: Final = 3600.0
"""A clock that is set is noticed within this time."""

_log = logger(__name__)


class Due(NamedTuple):
    """A time at which an agent is to be asked."""

    namespace: str
    agent: str
    schedule: AgentSchedule
    unix_seconds: int

    @property
    def key(self) -> str:
        """The same for everybody who tries."""
        return f"{self.schedule.name}@{self.unix_seconds}"


class Scheduler:
    """Keeps the schedules of all agents while `run` runs."""

    def __init__(self, directory: Directory, admission: Admission, now: Callable[[], float] = time.time) -> None:
        """`now` answers Unix seconds."""
        self._directory = directory
        self._admission = admission
        self._now = now
        self._parsed: dict[bytes, tuple[AgentSchedule, ...]] = {}
        self._settled: dict[tuple[str, str, str], int] = {}
        """By namespace, agent and schedule: the last time that was dealt with here."""
        self._next: dict[tuple[str, str, bytes, str], float] = {}
        """By these and the agent's version: before this time there is nothing to be looked for."""

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._directory.synced.wait()
        while True:
            changed, left = asyncio.ensure_future(self._changed()), list[bool]()
            try:
                left = [await self._settle(due) for due in self.due()]
                wait = RETRY_SECONDS if not all(left) else self._rest()
                await asyncio.wait((changed,), timeout=wait)
            finally:
                changed.cancel()

    async def _changed(self) -> None:
        async with self._directory.changed:
            await self._directory.changed.wait()

    def due(self) -> list[Due]:
        """What is to be asked now: of each schedule the last time that was due, unless it is too late for it."""
        now, found, nexts = self._now(), list[Due](), dict[tuple[str, str, bytes, str], float]()
        for record, schedule in self._schedules():
            key = (record.ref.namespace, record.ref.name, record.ref.sha256, schedule.name)
            at = self._next.get(key, now)
            if at <= now:
                last = self._newest(record, schedule, now)
                if last is not None:
                    found.append(Due(record.ref.namespace, record.ref.name, schedule, int(last)))
                else:
                    at = cron.next_due(schedule.schedule, schedule.timezone, now) or now + LONGEST_SECONDS
            nexts[key] = at
        self._next = nexts
        return found

    def _newest(self, record: ResourceRecord, schedule: AgentSchedule, now: float) -> float | None:
        settled = self._settled.get((record.ref.namespace, record.ref.name, schedule.name), 0)
        # What was due before the agent was declared so is nobody's concern.
        since = max(now - schedule.catch_up_seconds - 1, record.changed_unix_nano / 1e9, settled)
        return cron.newest_due(schedule.schedule, schedule.timezone, since, now)

    async def _settle(self, due: Due) -> bool:
        """Asks the agent; False where that is to be tried again."""
        caller = Caller(f"schedule/{due.schedule.name}", due.namespace, "user")
        at = datetime.fromtimestamp(due.unix_seconds, UTC).isoformat().replace("+00:00", "Z")
        asked = AskedRun(
            caller=caller,
            agent=due.agent,
            query=due.schedule.query,
            session_id=due.schedule.session,
            context={**due.schedule.context, "scheduled_at": at},
            idempotency_key=due.key,
            surface=SURFACE_SCHEDULE,
        )
        try:
            prepared = self._admission.prepare(asked)
            admitted = await self._admission.admit(prepared)
        except (TemporaryError, Conflict) as error:
            # Not ready, or full: until it is too late for it.
            _log.warning("a scheduled run waits", agent=due.agent, schedule=due.schedule.name, reason=error.message)
            return False
        except AstromeshError as error:
            _log.error("a scheduled run is refused", agent=due.agent, schedule=due.schedule.name, reason=error.message)
        else:
            if admitted:
                _log.info("a schedule was due", agent=due.agent, schedule=due.schedule.name, run_id=prepared.run_id)
        self._settled[due.namespace, due.agent, due.schedule.name] = due.unix_seconds
        return True

    def _rest(self) -> float:
        """Seconds until the next time that anything is due, as it was last looked for."""
        now = self._now()
        soonest = min(self._next.values(), default=now + LONGEST_SECONDS)
        return min(max(soonest - now, 0.01), LONGEST_SECONDS)

    def _schedules(self) -> Iterator[tuple[ResourceRecord, AgentSchedule]]:
        records = self._directory.records("Agent")
        self._parsed = {record.ref.sha256: self._of(record) for record in records}
        for record in records:
            for schedule in self._parsed[record.ref.sha256]:
                yield record, schedule

    def _of(self, record: ResourceRecord) -> tuple[AgentSchedule, ...]:
        known = self._parsed.get(record.ref.sha256)
        if known is not None:
            return known
        spec = cast("dict[str, list[object]]", orjson.loads(record.spec_json))
        return tuple(map(AgentSchedule.model_validate, spec.get("schedules", ())))
