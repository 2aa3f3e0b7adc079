"""Drives one run: performs each effect of its saga, or feeds back what the log holds, and records how it ended.

recorded outcome?  yes ▸ send it in          no ▸ perform, record, send it in
the saga returns   ▸ completed | failed      a write is unknown ▸ suspended, the run is let go
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import cast

import structlog

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_VERSION,
    RunCancelled,
    RunCompensated,
    RunCompleted,
    RunEvent,
    RunFailed,
    Suspended,
    SuspensionReason,
    TimedOut,
)
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.errors import AstromeshError, LimitExceeded, Unavailable
from astromesh_core.errors import TimedOut as OutOfTime
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.approvals import set_timers
from astromesh_runtime.child_calls import cancel_children, totals_of
from astromesh_runtime.compensating import begin, cancelling, compensate, compensation_of, left_steps
from astromesh_runtime.context import assemble_context, check_input, check_output, remember, remember_summary
from astromesh_runtime.effects import (
    AssembleContext,
    CallModel,
    CallTools,
    CheckArguments,
    CheckInput,
    CheckOutput,
    CheckResults,
    Gather,
    PatternFunction,
    Remember,
    RememberSummary,
    SagaEffect,
    SingleEffect,
)
from astromesh_runtime.model_calls import call_model
from astromesh_runtime.recorded import Diverged
from astromesh_runtime.replay import plan_of
from astromesh_runtime.saga import Completed, Ending, Failed, Outcome, failure_of, saga
from astromesh_runtime.scope import RunScope
from astromesh_runtime.tool_calls import call_tools
from astromesh_runtime.tool_checks import check_arguments, check_results
from astromesh_runtime.waits import Waits, all_of

log = structlog.get_logger("astromesh.runtime")


@dataclass(frozen=True, slots=True)
class Ended:
    """The run's terminal event is stored."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """The run is suspended and stored; only a signal wakes it."""

    reason: SuspensionReason.ValueType


class RunDriver:
    """One run under one worker, from where its log stands to its end or its next wait."""

    def __init__(self, scope: RunScope, pattern: PatternFunction | None) -> None:
        """`pattern` is None where this release does not hold the run's version: the run waits for one that does."""
        self._scope = scope
        self._pattern = pattern
        self._main: asyncio.Task[Ended | LetGo] | None = None
        self._cancel: Signal | None = None
        self._terminal: int | None = None
        """Index of the terminal event once it is recorded: there is never a second one."""
        self._timed_out = False

    async def drive(self) -> Ended | LetGo:
        """Goes on with the run.

        Raises LogLost where its log takes no more from here, Unavailable where a service cut its own answer off,
        CancelledError on shutdown.
        """
        if self._cancel is not None:
            return await self._end_cancelled(self._cancel)
        self._main = asyncio.ensure_future(self._drive())
        try:
            return await asyncio.shield(self._main)
        except asyncio.CancelledError:
            if _being_cancelled():
                await self._stop_main()
                raise
            if self._cancel is None:
                raise Unavailable("a call was cancelled from its other end") from None
            return await self._end_cancelled(self._cancel)
        except LimitExceeded as error:
            return await self._end(Failed(failure_of(error), imposed=True))

    def cancel(self, signal: Signal) -> None:
        """Stops the run as soon as what is in flight has been noted; `drive` then records the end."""
        if self._cancel is not None or self._scope.recorded.interventions.compensation is not None:
            # What it did is being undone: it ends as soon as it may.
            return
        self._cancel = signal
        self._scope.cancelling = True
        if self._main is not None:
            self._main.cancel()

    async def _drive(self) -> Ended | LetGo:
        started = self._scope.recorded.started
        assert started is not None
        if self._scope.recorded.interventions.compensation is not None:
            return await self._undo()
        if self._pattern is None:
            name = f"{started.pattern} version {started.pattern_version}"
            return await self._suspend(Waits(SUSPENSION_REASON_VERSION, "", f"no worker here runs {name}"))
        try:
            ending = await self._feed(saga(plan_of(self._scope.requested, started), self._pattern))
        except Waits as waits:
            return await self._suspend(waits)
        except Diverged as difference:
            return await self._suspend(Waits(SUSPENSION_REASON_VERSION, difference.path, str(difference)))
        return await self._end(ending)

    async def _feed(self, generator: Generator[SagaEffect, Outcome, Ending]) -> Ending:
        try:
            effect = next(generator)
            while True:
                outcome = self._scope.recorded.outcome(effect)
                if outcome is None:
                    outcome = await self._perform_in_time(effect)
                effect = generator.send(outcome)
        except StopIteration as stop:
            return stop.value
        except AstromeshError as error:
            return Failed(failure_of(error), imposed=True)
        finally:
            generator.close()

    async def _perform_in_time(self, effect: SagaEffect) -> Outcome:
        """Performs within the run's deadline. Tools have timeouts of their own: no write is cut in the middle, and one
        that a crash cut is judged though the time is up."""
        if isinstance(effect, Gather):
            return await self._gather(effect)
        left = self._scope.seconds_left()
        if left is None:
            return await self._perform(effect)
        keeps_time = isinstance(effect, CallTools) and (left > 0 or self._began(effect))
        if left <= 0 and not keeps_time:
            raise self._out_of_time()
        try:
            async with asyncio.timeout(None if keeps_time else left):
                return await self._perform(effect)
        except TimeoutError:
            raise self._out_of_time() from None

    def _began(self, effect: CallTools) -> bool:
        recorded = self._scope.recorded
        return any(member.path in recorded.intents or member.path in recorded.children for member in effect.calls)

    def _out_of_time(self) -> OutOfTime:
        started = self._scope.recorded.started
        assert started is not None
        if not self._timed_out:
            # Of what goes on at once, each part comes upon it.
            self._timed_out = True
            self._scope.record(RunEvent(timed_out=TimedOut(deadline_unix_nano=self._scope.deadline())))
        seconds = self._scope.agent.timeout_seconds
        if started.deadline_unix_nano == self._scope.requested.lineage.deadline_unix_nano:
            return OutOfTime("the run took longer than the run that started it gave it")
        return OutOfTime(f"the run took longer than its {seconds:g} seconds (spec.orchestration.timeout_seconds)")

    async def _perform(self, effect: SingleEffect) -> Outcome:
        match effect:
            case CallModel():
                return await call_model(self._scope, effect)
            case CallTools():
                return await call_tools(self._scope, effect)
            case CheckArguments():
                return await check_arguments(self._scope, effect)
            case CheckResults():
                return await check_results(self._scope, effect)
            case CheckInput():
                return await check_input(self._scope, effect)
            case AssembleContext():
                return await assemble_context(self._scope, effect)
            case CheckOutput():
                return await check_output(self._scope, effect)
            case Remember():
                return remember(self._scope, effect)
            case RememberSummary():
                return remember_summary(self._scope, effect)

    async def _gather(self, effect: Gather) -> Outcome:
        return cast("Outcome", await all_of(map(self._outcome_of, effect.effects)))

    async def _outcome_of(self, effect: SagaEffect) -> Outcome:
        outcome = self._scope.recorded.outcome(effect)
        return outcome if outcome is not None else await self._perform_in_time(effect)

    async def _end(self, ending: Ending) -> Ended | LetGo:
        undoing = None
        if isinstance(ending, Failed):
            if ending.cause is not None:
                log.error("a pattern has a bug", run_id=self._scope.run_id, exc_info=ending.cause)
            undoing = compensation_of(self._scope, ending.failure, imposed=ending.imposed)
        if undoing is not None:
            begin(self._scope, undoing)
            return await self._undo()
        usage, left = self._scope.bill.closing()
        if isinstance(ending, Completed):
            completed = RunCompleted(
                answer=text_content(ending.answer),
                usage=usage,
                sources=ending.sources,
                handed_to=ending.handed_to,
                lost_usage=left.estimate,
                partial_charges=left.charges,
                totals=totals_of(self._scope),
            )
            return await self._end_with(RunEvent(completed=completed))
        failed = RunFailed(
            failure=ending.failure,
            usage=usage,
            imposed=ending.imposed,
            lost_usage=left.estimate,
            partial_charges=left.charges,
            totals=totals_of(self._scope),
        )
        return await self._end_with(RunEvent(failed=failed))

    async def _end_with(self, event: RunEvent, signal_id: str = "") -> Ended:
        if self._scope.recorded.children:
            await cancel_children(self._scope)
        self._terminal = self._scope.record(event, signal_id=signal_id)
        await self._scope.stored(self._terminal)
        return Ended()

    async def _undo(self) -> Ended | LetGo:
        if self._scope.recorded.children:
            await cancel_children(self._scope)
        try:
            await compensate(self._scope)
        except Waits as waits:
            return await self._suspend(waits)
        started = self._scope.recorded.interventions.compensation
        assert started is not None
        usage, left = self._scope.bill.closing(seen=len(plain(started.partial_answer)))
        event = RunCompensated(
            cause=started.cause,
            usage=usage,
            lost_usage=left.estimate,
            partial_charges=left.charges,
            left=left_steps(self._scope),
            totals=totals_of(self._scope),
        )
        return await self._end_with(RunEvent(compensated=event))

    async def _end_cancelled(self, signal: Signal) -> Ended | LetGo:
        seen = "".join(self._scope.seen)
        await self._stop_main()
        if self._terminal is not None:
            # The cancel came while the run's end was being stored: it ended as it did.
            await self._scope.stored(self._terminal)
            return Ended()
        undoing = cancelling(self._scope, signal, seen)
        if undoing is not None:
            begin(self._scope, undoing, signal.id)
            return await self._undo()
        usage, left = self._scope.bill.closing()
        event = RunCancelled(
            principal=signal.principal,
            reason=signal.cancel.reason,
            partial_answer=text_content(plain(signal.cancel.seen) or seen),
            usage=usage,
            lost_usage=left.estimate,
            partial_charges=left.charges,
            totals=totals_of(self._scope),
        )
        return await self._end_with(RunEvent(cancelled=event), signal.id)

    async def _suspend(self, waits: Waits) -> LetGo:
        await set_timers(self._scope)
        event = Suspended(reason=waits.reason, path=waits.path, detail=waits.detail, child_run_ids=waits.children)
        await self._scope.stored(self._scope.record(RunEvent(suspended=event)))
        return LetGo(waits.reason)

    async def _stop_main(self) -> None:
        if self._main is not None:
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
