"""The open runs of a worker: starts each session's head, wakes the waiting, retries what the log did not take."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Coroutine

import structlog

from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import AstromeshError, Bug, Conflict, TemporaryError
from astromesh_core.rpc.identity import Caller, enter_caller
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.logs import logged_with
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime.engine import Ended, LetGo, RunDriver
from astromesh_runtime.open_runs import Opener, OpenRun, Over
from astromesh_runtime.patterns.catalogue import pattern_function
from astromesh_runtime.scope import LogLost, RunScope
from astromesh_runtime.session_log import SessionWish, SessionWriter, is_for_session
from astromesh_runtime.sessions import SessionQueues
from astromesh_runtime.waking import apply_signals

RETRY_SECONDS = 0.05
RETRY_SECONDS_AT_MOST = 5.0
KEPT_SESSION_ENDS = 4_000
"""Sessions whose last end is remembered, for the next run to wait until memory has it. At a worker's most runs a second
these are the ends of some seconds; memory applies them in milliseconds. What is forgotten is waited for as a whole."""

log = structlog.get_logger("astromesh.runtime")

Item = OpenRun | SessionWish


def _ignore_signal(signal: Signal, partition: int) -> None:
    del signal, partition


def _ignore_change(partition: int) -> None:
    del partition


class Dispatch:
    """Open runs by id, and the tasks that work on them."""

    def __init__(
        self, opener: Opener, sessions: SessionWriter, queues: SessionQueues[Item], telemetry: Telemetry
    ) -> None:
        self._telemetry = telemetry
        self._opener = opener
        self._sessions = sessions
        self._queues = queues
        self.known_end = Position.START
        """The log's end when partitions were last acquired: every run that ended before lies below."""
        self.on_signal_settled: Callable[[Signal, int], None] = _ignore_signal
        self.on_change: Callable[[int], None] = _ignore_change
        self.taken = 0
        """Runs taken in since the start."""
        self._open: dict[str, OpenRun] = {}
        self._wishes: set[SessionWish] = set()
        self._early: dict[asyncio.Task[None], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_ends: OrderedDict[str, Position] = OrderedDict()
        self._draining = False

    def add(self, run: OpenRun) -> None:
        """Takes a run into its session's queue. One that is here already is ignored."""
        if run.aggregate.id not in self._open:
            self.taken += 1
            self._open[run.aggregate.id] = run
            self._queues.push(run.aggregate.namespace, run.session_key, run)
            self._start_ready()

    def signal(self, signal: Signal, aggregate: Aggregate) -> None:
        """Brings a signal to its run or session. One that makes no sense there says nothing."""
        run = self._open.get(aggregate.id)
        if is_for_session(signal) == aggregate.is_run:
            self.on_signal_settled(signal, aggregate.partition)
        elif not aggregate.is_run:
            self._wish(signal, aggregate)
        elif run is None:
            early = self._spawn(self._bring_early(signal, aggregate))
            self._early[early] = aggregate.partition
            early.add_done_callback(self._early.pop)
        else:
            self._signal_run(run, signal)

    def _signal_run(self, run: OpenRun, signal: Signal) -> None:
        run.signals.append(signal)
        if run.parked and not self._draining:
            self._unpark(run)
        elif signal.HasField("cancel"):
            self._cancel(run, signal)

    def drop(self, partitions: Collection[int]) -> None:
        """Forgets the runs of partitions that belong to another worker now, in the middle of whatever they did."""
        for run in [run for run in self._open.values() if run.aggregate.partition in partitions]:
            run.dropped = True
            del self._open[run.aggregate.id]
            if run.task is not None:
                run.task.cancel()
            elif run.parked:
                self._leave(run)
            else:
                self._queues.remove(run.aggregate.namespace, run.session_key, run)
        for task in [task for task, partition in self._early.items() if partition in partitions]:
            task.cancel()
        for item in self._wishes:
            if item.aggregate.partition in partitions:
                item.dropped = True

    def open_in(self, partition: int) -> list[OpenRun]:
        """The partition's runs that have not ended."""
        return [run for run in self._open.values() if run.aggregate.partition == partition]

    def load(self) -> Counter[str]:
        """Open runs by namespace, without those that wait for the world."""
        return Counter(run.aggregate.namespace for run in self._open.values() if not run.parked)

    def waiting(self) -> int:
        """Runs that wait for their session or for a place."""
        return self._queues.waiting()

    async def drain(self, seconds: float) -> None:
        """Starts nothing more, lets what is at work end, and stops what has not after `seconds`."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_ready(self) -> None:
        while not self._draining and (item := self._queues.next()) is not None:
            if isinstance(item, OpenRun):
                self._start(item)
            else:
                self._spawn(self._work_wish(item))

    def _start(self, run: OpenRun) -> None:
        run.task = self._spawn(self._work(run))
        # Not in the task itself: one that is cancelled before its first step runs nothing of its own.
        run.task.add_done_callback(lambda task: self._leave(run) if task.cancelled() else None)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _cancel(self, run: OpenRun, signal: Signal) -> None:
        if run.driver is not None:
            run.driver.cancel(signal)
        elif run.task is None and self._queues.remove(run.aggregate.namespace, run.session_key, run):
            # It never started: it ends at once and nothing behind it has to wait.
            run.detached = True
            self._start(run)

    async def _work(self, run: OpenRun) -> None:
        try:
            result = await self._persist(run)
            if run.parent is not None and not _waits(result):
                await self._tell_parent(run)
        finally:
            run.task = run.driver = None
        self._finish(run, result)

    async def _persist(self, run: OpenRun) -> Ended | LetGo | Over:
        """Drives the run for as long as it takes. What nobody foresaw ends it, so that its session goes on."""
        pause = RETRY_SECONDS
        unforeseen: AstromeshError | None = None
        while True:
            try:
                if unforeseen is not None:
                    run.ended_at = await self._opener.bury(run.aggregate, unforeseen)
                    return Ended()
                return await self._drive(run)
            except (LogLost, Conflict, TemporaryError) as error:
                log.info("run taken up again", run_id=run.aggregate.id, reason=str(error))
                if isinstance(error, LogLost) and not isinstance(error.error, Conflict | TemporaryError):
                    # Its log will never take what it did: doing it again would only cost the same again.
                    unforeseen = error.error
            except Exception as error:
                log.exception("a run met a bug", run_id=run.aggregate.id)
                unforeseen = Bug(f"{type(error).__name__} in the runtime; its log has the details")
            run.fresh = None
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_SECONDS_AT_MOST)

    async def _tell_parent(self, run: OpenRun) -> None:
        """Returns when the signal is stored: until then the run is open, for whoever takes it over too."""
        pause = RETRY_SECONDS
        while True:
            try:
                await self._opener.tell_parent(run)
                return
            except AstromeshError as error:
                log.warning("a parent is told later", run_id=run.aggregate.id, reason=error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_SECONDS_AT_MOST)

    async def _drive(self, run: OpenRun) -> Ended | LetGo | Over:
        run.considered = list(run.signals)
        after = self._last_ends.get(run.session_key, self.known_end)
        scope = await self._opener.open(run, after)
        if isinstance(scope, Over):
            return scope
        enter_caller(Caller(scope.requested.principal, scope.namespace, "run"))
        attributes = {
            gen_ai.OPERATION: "invoke_agent",
            gen_ai.AGENT_NAME: scope.requested.agent,
            gen_ai.RUN_ID: scope.run_id,
        }
        span = self._telemetry.span(
            f"invoke_agent {scope.requested.agent}", attributes=attributes, parent=scope.traceparent
        )
        try:
            with logged_with(run_id=scope.run_id), span:
                return await self._drive_scope(run, scope)
        finally:
            # What matters is stored by now; the rest belongs to whoever takes the run up.
            run.ended_at = scope.writer.position
            scope.writer.abandon()

    async def _drive_scope(self, run: OpenRun, scope: RunScope) -> Ended | LetGo:
        handled = list(run.signals)
        over = await apply_signals(scope, handled)
        for signal in handled:
            self._settle(run, signal)
        if over is not None:
            return over
        started = scope.recorded.started
        assert started is not None
        driver = RunDriver(scope, pattern_function(started.pattern, started.pattern_version))
        run.driver = driver
        late = next((signal for signal in run.signals if signal.HasField("cancel")), None)
        if late is not None:
            driver.cancel(late)
        return await driver.drive()

    def _settle(self, run: OpenRun, signal: Signal) -> None:
        if signal in run.signals:
            run.signals.remove(signal)
        self.on_signal_settled(signal, run.aggregate.partition)

    def _finish(self, run: OpenRun, result: Ended | LetGo | Over) -> None:
        if _waits(result) and not run.dropped:
            self._park(run)
        else:
            self._end(run)
        self.on_change(run.aggregate.partition)
        self._start_ready()

    def _park(self, run: OpenRun) -> None:
        run.fresh = None
        run.parked = True
        self._queues.park()
        if any(signal not in run.considered for signal in run.signals) and not self._draining:
            self._unpark(run)

    def _unpark(self, run: OpenRun) -> None:
        run.parked = False
        self._queues.unpark()
        self._start(run)

    def _end(self, run: OpenRun) -> None:
        if not run.dropped:
            for signal in list(run.signals):
                self._settle(run, signal)
            del self._open[run.aggregate.id]
        if run.ended_at is not None:
            self._remember_end(run.session_key, run.ended_at)
        if not run.detached:
            self._queues.done(run.aggregate.namespace, run.session_key)

    def _leave(self, run: OpenRun) -> None:
        """The run goes on elsewhere: only its place in the queue is given back."""
        if run.parked:
            run.parked = False
            self._queues.unpark()
        if not run.detached:
            self._queues.done(run.aggregate.namespace, run.session_key)
        self._start_ready()

    def _remember_end(self, session: str, position: Position) -> None:
        self._last_ends[session] = position
        self._last_ends.move_to_end(session)
        if len(self._last_ends) > KEPT_SESSION_ENDS:
            # What is forgotten is below this, so a later run of that session waits for enough.
            _, forgotten = self._last_ends.popitem(last=False)
            self.known_end = max(self.known_end, forgotten)

    async def _bring_early(self, signal: Signal, aggregate: Aggregate) -> None:
        """A signal for a run that is not open here: it has ended, or its request, which is read beside the signals, has
        not come yet."""
        pause = RETRY_SECONDS
        while aggregate.id not in self._open:
            try:
                if await self._opener.is_over(aggregate):
                    self.on_signal_settled(signal, aggregate.partition)
                    return
            except AstromeshError as error:
                log.info("signal brought later", run_id=aggregate.id, reason=error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_SECONDS_AT_MOST)
        self._signal_run(self._open[aggregate.id], signal)

    def _wish(self, signal: Signal, aggregate: Aggregate) -> None:
        item = SessionWish(aggregate, signal)
        self._wishes.add(item)
        self._queues.push(aggregate.namespace, aggregate.id, item)
        self._start_ready()

    async def _work_wish(self, item: SessionWish) -> None:
        pause = RETRY_SECONDS
        while not item.dropped:
            try:
                self._opener.epoch(item.aggregate.partition)
                self._remember_end(item.aggregate.id, await self._sessions.write(item))
                self.on_signal_settled(item.signal, item.aggregate.partition)
                break
            except AstromeshError as error:
                log.warning("session event tried again", reason=error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_SECONDS_AT_MOST)
        self._wishes.discard(item)
        self._queues.done(item.aggregate.namespace, item.aggregate.id)
        self._start_ready()


def _waits(result: Ended | LetGo | Over) -> bool:
    return isinstance(result, LetGo) or (isinstance(result, Over) and result.waiting)
