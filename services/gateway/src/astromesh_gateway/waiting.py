"""Runs that wait: for somebody or something outside, or in their session's queue behind one that does. A run that waits
for its children is at work, as long as they are.

A caller need not wait for the latter: it may take days. So a caller's run that has stood in the queue for a while
behind a run that waits is answered as it stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from astromesh.v1.history_pb2 import HistoryServiceListRunsRequest
from astromesh.v1.run_events_pb2 import SUSPENSION_REASON_CHILD
from astromesh.v1.runs_pb2 import (
    RUN_STATUS_NEEDS_HUMAN,
    RUN_STATUS_NEEDS_VERSION,
    RUN_STATUS_QUEUED,
    RUN_STATUS_SUSPENDED,
    RUN_STATUS_UNSPECIFIED,
    STEP_STATUS_RUNNING,
    Run,
    RunFilter,
)
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import AstromeshError
from astromesh_core.events.runs import TERMINAL
from astromesh_core.telemetry.logs import logger

if TYPE_CHECKING:
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub

WAITING = frozenset({RUN_STATUS_SUSPENDED, RUN_STATUS_NEEDS_HUMAN, RUN_STATUS_NEEDS_VERSION})
"""Statuses of a run that goes on only when somebody or something outside says so."""

CHILD = "child"
"""What `waiting_for` says of a run that waits for its children."""

GRACE_SECONDS = 2.0
"""How long a run stands in its session's queue before its caller is told of a run that waits, and between two looks."""

SESSION_RUNS = 100
"""Runs of a session that are looked through for the one that a queued run waits for."""

_log = logger(__name__)


class Sessions:
    """Who holds a session, as history knows it."""

    def __init__(self, log: EventLog, history: HistoryServiceAsyncStub) -> None:
        self._log = log
        self._history = history

    async def holder(self, queued: Run) -> Run | None:
        """The run that holds the session of a queued one; None where none is known to. It may lag by milliseconds."""
        request = HistoryServiceListRunsRequest(
            namespace=queued.namespace,
            filter=RunFilter(session_key=queued.session_key, until_unix_nano=queued.requested_unix_nano),
            page_size=SESSION_RUNS,
        )
        newest_first = (await self._history.ListRuns(request)).runs
        earlier = [run for run in newest_first if run.run_id != queued.run_id and run.status not in TERMINAL]
        return next((run for run in earlier if run.status != RUN_STATUS_QUEUED), earlier[-1] if earlier else None)

    async def waits(self, run: Run) -> bool:
        """Whether a run that history saw waiting waits still."""
        if run.status not in WAITING:
            return False
        if run.waiting_for == CHILD:
            return await waits_below(self._log, run)
        tail = await self._log.tail(run_aggregate(run.namespace, run.run_id))
        return tail is not None and tail.last.index < run.events


def waits_outside(run: Run) -> bool:
    """Whether a run waits, and not for its own children."""
    return run.status in WAITING and run.waiting_for != CHILD


async def waits_below(log: EventLog, run: Run) -> bool:
    """Whether each child that a run waits for waits itself for somebody or something outside."""
    children = [step.child_run_id for step in run.steps if step.child_run_id and step.status == STEP_STATUS_RUNNING]
    return bool(children) and all([await _waits(log, run.namespace, child) for child in children])


async def _waits(log: EventLog, namespace: str, run_id: str) -> bool:
    tail = await log.tail(run_aggregate(namespace, run_id))
    if tail is None or not tail.last.envelope.run.HasField("suspended"):
        return False
    suspended = tail.last.envelope.run.suspended
    if suspended.reason != SUSPENSION_REASON_CHILD:
        return True
    return all([await _waits(log, namespace, child) for child in suspended.child_run_ids])


class ChildWatch:
    """Watches a run that its owner keeps up to date: `with watch.telling(held)` calls `held` once it has waited for the
    grace for children that wait themselves for somebody outside.
    """

    def __init__(self, log: EventLog, run: Run) -> None:
        self._log = log
        self._run = run
        self._task: asyncio.Task[None] | None = None
        self._tell: Callable[[], None] = _nobody
        self.held = False

    @contextmanager
    def telling(self, held: Callable[[], None]) -> Generator[None]:
        """Calls `held` from the loop, at most once, within the block."""
        self._tell = held
        try:
            yield
        finally:
            if self._task is not None:
                self._task.cancel()

    def look(self) -> None:
        """The run has an event more. Costs nothing unless it waits for children."""
        if self._run.waiting_for == CHILD and self._task is None:
            self._task = asyncio.create_task(self._find(), name=f"children of run {self._run.run_id}")

    async def _find(self) -> None:
        while True:
            await asyncio.sleep(GRACE_SECONDS)
            try:
                self.held = self._run.waiting_for == CHILD and await waits_below(self._log, self._run)
            except AstromeshError as error:
                _log.info("a run's children are looked at later", run_id=self._run.run_id, reason=error.message)
            if self.held:
                self._tell()
                return


def _nobody() -> None:
    """Is told nothing."""


class QueueWatch:
    """Watches a run that its owner keeps up to date: `with watch.telling(held)` calls `held` once it has stood in the
    queue for the grace behind one that waits.
    """

    def __init__(self, sessions: Sessions, run: Run, *, private: bool) -> None:
        """`private`: the session is the run's own, so that nothing of it can be ahead."""
        self._sessions = sessions
        self._run = run
        self._private = private
        self._holder: Run | None = None
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def telling(self, held: Callable[[], None]) -> Generator[None]:
        """Calls `held` from the loop, at most once, within the block."""
        if self._private:
            yield
            return
        # A timer and no task: nearly every run is done long before.
        self._timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._look, held)
        try:
            yield
        finally:
            self._timer.cancel()
            if self._looking is not None:
                self._looking.cancel()

    def is_held(self) -> bool:
        """True where the run stands in the queue still; it then names the run that it waits for."""
        if self._run.status != RUN_STATUS_QUEUED:
            return False
        self._run.waiting_for = holder_name(self._holder)
        return True

    def _look(self, held: Callable[[], None]) -> None:
        if self._run.status in (RUN_STATUS_UNSPECIFIED, RUN_STATUS_QUEUED):
            self._looking = asyncio.create_task(self._find(held), name=f"queue of run {self._run.run_id}")

    async def _find(self, held: Callable[[], None]) -> None:
        try:
            if self._run.status == RUN_STATUS_QUEUED:
                self._holder = await self._sessions.holder(self._run)
            if self._holder is not None and await self._sessions.waits(self._holder):
                held()
                return
        except AstromeshError as error:
            _log.info("a session's queue is looked at later", run_id=self._run.run_id, reason=error.message)
        self._timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._look, held)


def holder_name(holder: Run | None) -> str:
    """What a queued run waits for, in words; empty for none."""
    return f"run {holder.run_id}" if holder is not None else ""
