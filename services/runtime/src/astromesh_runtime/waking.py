"""Turns the signals that came for a run into its events, when the run is taken up."""

from __future__ import annotations

from collections.abc import Sequence

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_CHILD,
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
from astromesh_runtime.child_calls import cancel_children, finish_children, totals_of
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
            await _cancel(scope, signal)
            return Ended()
        if signal.HasField("resolve") and signal.resolve.path in scope.recorded.unknown:
            await scope.stored(_resolve(scope, signal))
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
    return suspended.reason != SUSPENSION_REASON_UNKNOWN or suspended.path in scope.recorded.unknown


async def _cancel(scope: RunScope, signal: Signal) -> None:
    if scope.recorded.children:
        await cancel_children(scope)
    for unknown in scope.recorded.cut_writes():
        scope.record(unknown)
    usage, left = scope.bill.closing(seen=len(plain(signal.cancel.seen)))
    cancelled = RunCancelled(
        principal=signal.principal,
        reason=signal.cancel.reason,
        partial_answer=signal.cancel.seen,
        usage=usage,
        lost_usage=left.estimate,
        partial_charges=left.charges,
        totals=totals_of(scope),
    )
    await scope.stored(scope.record(RunEvent(cancelled=cancelled), signal_id=signal.id))


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
