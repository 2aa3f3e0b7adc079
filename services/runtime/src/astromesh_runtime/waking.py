"""Turns the signals that came for a run into its events, when the run is taken up."""

from __future__ import annotations

from collections.abc import Sequence

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_APPROVAL,
    SUSPENSION_REASON_CHILD,
    SUSPENSION_REASON_COMPENSATION,
    SUSPENSION_REASON_QUESTION,
    SUSPENSION_REASON_UNKNOWN,
    SUSPENSION_REASON_VERSION,
    Resumed,
    RunCancelled,
    RunEvent,
    Suspended,
    ToolFailed,
    ToolSucceeded,
)
from astromesh.v1.signal_pb2 import RESOLVED_OUTCOME_SUCCEEDED, Signal
from astromesh.v1.values_pb2 import Failure, ToolResult
from astromesh_core.errors import PermanentError
from astromesh_core.events.contents import plain
from astromesh_runtime.approvals import decision_event, drop_timer
from astromesh_runtime.child_calls import cancel_children, finish_children, totals_of
from astromesh_runtime.compensating import begin, cancelling, left_steps, resolved
from astromesh_runtime.engine import Ended, LetGo
from astromesh_runtime.patterns.catalogue import pattern_function
from astromesh_runtime.scope import RunScope


async def apply_signals(scope: RunScope, signals: Sequence[Signal]) -> Ended | LetGo | None:
    """Stores what the signals mean; a repeated one and one that has lost its object mean nothing.

    Answers Ended where the run is over by them, LetGo where it still waits, None where it goes on.
    """
    for signal in signals:
        if signal.id in scope.recorded.signals:
            continue
        if signal.HasField("cancel"):
            if await _cancel(scope, signal):
                return Ended()
        elif signal.HasField("resolve") and signal.resolve.path in scope.recorded.unknown:
            await scope.stored(_resolve(scope, signal))
        else:
            await _intervene(scope, signal)
    suspended = scope.recorded.suspended
    if suspended is None:
        return None
    if scope.recorded.children:
        await finish_children(scope, signals)
    if _still_waits(scope, suspended):
        # One child of several may have ended: its signal counts as handled from here on.
        await scope.flushed()
        return LetGo(suspended.reason)
    await _resume(scope, suspended)
    return None


def _still_waits(scope: RunScope, suspended: Suspended) -> bool:
    if suspended.reason == SUSPENSION_REASON_VERSION:
        started = scope.recorded.started
        return started is None or pattern_function(started.pattern, started.pattern_version) is None
    if suspended.reason == SUSPENSION_REASON_CHILD:
        return any(child.child_run_id in suspended.child_run_ids for child in scope.recorded.open_children())
    interventions = scope.recorded.interventions
    if suspended.reason in (SUSPENSION_REASON_APPROVAL, SUSPENSION_REASON_QUESTION):
        return any(ask.path == suspended.path for ask in interventions.pending())
    if suspended.reason == SUSPENSION_REASON_COMPENSATION:
        return suspended.path in interventions.stuck
    return suspended.reason != SUSPENSION_REASON_UNKNOWN or suspended.path in scope.recorded.unknown


async def _intervene(scope: RunScope, signal: Signal) -> None:
    """Stores what a human decided, or that nobody did in time."""
    interventions = scope.recorded.interventions
    event = resolved(scope, signal) if signal.HasField("resolve") else decision_event(interventions, signal)
    if event is None:
        return
    interventions.add(event)
    scope.recorded.signals.add(signal.id)
    await scope.stored(scope.record(event, signal_id=signal.id))
    ask = interventions.asks.get(signal.decide.path or signal.answer.path)
    if ask is not None:
        await drop_timer(scope, ask)


async def _cancel(scope: RunScope, signal: Signal) -> bool:
    """False where the run goes on, to undo what it did."""
    if scope.recorded.children:
        await cancel_children(scope)
    for unknown in scope.recorded.cut_writes():
        scope.record(unknown)
        scope.recorded.unknown.add(unknown.tool_outcome_unknown.path)
    for ask in scope.recorded.interventions.pending():
        await drop_timer(scope, ask)
    undoing = cancelling(scope, signal)
    if undoing is not None:
        scope.recorded.suspended = None
        await scope.stored(begin(scope, undoing, signal.id))
        return False
    usage, left = scope.bill.closing(seen=len(plain(signal.cancel.seen)))
    cancelled = RunCancelled(
        principal=signal.principal,
        reason=signal.cancel.reason,
        partial_answer=signal.cancel.seen,
        usage=usage,
        lost_usage=left.estimate,
        partial_charges=left.charges,
        totals=totals_of(scope),
        left=left_steps(scope) if scope.recorded.interventions.compensation is not None else (),
    )
    await scope.stored(scope.record(RunEvent(cancelled=cancelled), signal_id=signal.id))
    return True


def _resolve(scope: RunScope, signal: Signal) -> int:
    """A human says what became of a write: from here on that is its outcome."""
    resolve = signal.resolve
    intent = scope.recorded.intents[resolve.path][-1]
    outcome: ToolSucceeded | ToolFailed
    if resolve.outcome == RESOLVED_OUTCOME_SUCCEEDED:
        result = ToolResult(tool_call_id=intent.call.id, name=intent.call.name, output=resolve.result)
        outcome = ToolSucceeded(path=resolve.path, result=result)
    else:
        outcome = ToolFailed(
            path=resolve.path, failure=Failure(error_class=PermanentError.code, message=resolve.result)
        )
    outcome.effect_sha256 = intent.effect_sha256
    outcome.resolved_by = signal.principal
    event = RunEvent(tool_succeeded=outcome) if isinstance(outcome, ToolSucceeded) else RunEvent(tool_failed=outcome)
    scope.recorded.outcomes[resolve.path] = outcome
    scope.recorded.unknown.discard(resolve.path)
    scope.recorded.signals.add(signal.id)
    return scope.record(event, signal_id=signal.id)


async def _resume(scope: RunScope, suspended: Suspended) -> None:
    await scope.stored(scope.record(RunEvent(resumed=Resumed(reason=suspended.reason, path=suspended.path))))
    scope.recorded.resume(scope.clock())
