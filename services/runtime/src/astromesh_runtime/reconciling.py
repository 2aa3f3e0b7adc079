"""Looks up what became of a write without an answer, with the read that its tool names, until that settles it.

unknown ──▶ looked up ──succeeded──▶ that is its outcome
    ▲           │└──────failed─────▶ that is its outcome, once nobody can act on the intent any more
    └──pause────┴───────neither, and no attempt is left ──▶ a human decides
"""

from __future__ import annotations

import asyncio

from astromesh.v1.run_events_pb2 import (
    RECONCILED_OUTCOME_FAILED,
    RECONCILED_OUTCOME_SUCCEEDED,
    RECONCILED_OUTCOME_UNKNOWN,
    ReconciledOutcome,
    RunEvent,
    StepReconciled,
    ToolFailed,
    ToolIntended,
    ToolSucceeded,
)
from astromesh.v1.values_pb2 import Failure, ToolCall, ToolResult
from astromesh_core.errors import AstromeshError, InvalidInput, PermanentError
from astromesh_core.events.contents import text_content
from astromesh_core.expressions import Condition
from astromesh_core.resources.tool_recovery import Reconcile
from astromesh_runtime.executing import execute
from astromesh_runtime.other_calls import answered_values, other_call
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import RunScope

LONGEST_PAUSE_SECONDS = 60.0


def settled_until(intent: ToolIntended) -> int:
    """Until when a call may still be at work, in Unix nanoseconds."""
    return intent.start_before_unix_nano + intent.timeout_ms * 1_000_000


async def reconcile(scope: RunScope, declared: Reconcile, intent: ToolIntended) -> ToolSucceeded | ToolFailed | None:
    """The outcome that was found, to be recorded by the caller; None where nobody knows it still. Each attempt is an
    event, and attempts before a crash count."""
    path = intent.path
    try:
        read = other_call(declared, "reconcile", intent.call, f"{scope.run_id}:{path}")
    except InvalidInput:
        # The call left out what it would be looked up by: only a human can.
        return None
    attempts = scope.recorded.interventions.looked_up
    while (done := attempts.get(path, 0)) < declared.attempts:
        if done:
            await asyncio.sleep(min(declared.pause_seconds * 2 ** (done - 1), LONGEST_PAUSE_SECONDS))
        if done + 1 == declared.attempts:
            # Before the last one nothing is under way any more: what it finds is how it stays.
            await asyncio.sleep(max(0.0, (settled_until(intent) - scope.clock()) / 1e9))
        found = await _look(scope, declared, intent, read, done + 1)
        attempts[path] = done + 1
        if found is not None:
            return found
    return None


async def _look(
    scope: RunScope, declared: Reconcile, intent: ToolIntended, read: ToolCall, attempt: int
) -> ToolSucceeded | ToolFailed | None:
    start = scope.clock()
    event = StepReconciled(path=intent.path, effect_sha256=intent.effect_sha256, call=read, attempt=attempt)
    try:
        answered = await execute(scope, read, intent.path, f"{scope.run_id}:{intent.path}:reconcile:{attempt}")
        if answered.HasField("failure"):
            event.failure.CopyFrom(answered.failure)
        else:
            event.result.CopyFrom(answered.result)
    except AstromeshError as error:
        event.failure.CopyFrom(failure_of(error))
    event.outcome = RECONCILED_OUTCOME_UNKNOWN
    if event.HasField("result") and not event.result.is_error:
        event.outcome = _verdict(declared, intent.call, event.result)
    if event.outcome == RECONCILED_OUTCOME_FAILED and start < settled_until(intent):
        # It is not done yet; it may be in a moment.
        event.outcome = RECONCILED_OUTCOME_UNKNOWN
    event.timing.CopyFrom(scope.timing(start))
    scope.record(RunEvent(step_reconciled=event))
    return _outcome(declared, intent, event)


def _verdict(declared: Reconcile, call: ToolCall, result: ToolResult) -> ReconciledOutcome.ValueType:
    values = answered_values(call, result)
    if Condition.parse(declared.succeeded).holds(values, otherwise=False):
        return RECONCILED_OUTCOME_SUCCEEDED
    if declared.failed is not None and Condition.parse(declared.failed).holds(values, otherwise=False):
        return RECONCILED_OUTCOME_FAILED
    return RECONCILED_OUTCOME_UNKNOWN


def _outcome(declared: Reconcile, intent: ToolIntended, event: StepReconciled) -> ToolSucceeded | ToolFailed | None:
    resolved_by = f"reconciled by {declared.tool}"
    if event.outcome == RECONCILED_OUTCOME_SUCCEEDED:
        result = ToolResult(tool_call_id=intent.call.id, name=intent.call.name, output=event.result.output)
        return ToolSucceeded(
            path=intent.path, effect_sha256=intent.effect_sha256, result=result, resolved_by=resolved_by
        )
    if event.outcome == RECONCILED_OUTCOME_FAILED:
        told = f"it gave no answer, and {declared.tool} tells that it was not done"
        failure = Failure(error_class=PermanentError.code, message=text_content(told))
        return ToolFailed(
            path=intent.path, effect_sha256=intent.effect_sha256, failure=failure, resolved_by=resolved_by
        )
    return None
