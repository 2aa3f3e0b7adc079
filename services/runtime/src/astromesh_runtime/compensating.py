"""Undoes what a run did, when it ends badly: each step that was done and whose tool says how, the last one first.

started ──▶ begun ──▶ compensated ──▶ the next step … ──▶ the run is compensated
              │└─ no definite answer, or a failure ──pause──▶ begun anew, while attempts are left
              └─▶ failed: the run waits for a human, who undid it by hand, or leaves it, and it goes on

A step of which nobody knows whether it was done is looked up first, where its tool says how. What undoes a step is
itself a call: a write of it is never made again where nobody knows whether it was done.
"""

from __future__ import annotations

import asyncio

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_COMPENSATION,
    CompensationStarted,
    LeftStep,
    RunEvent,
    StepCompensated,
    StepCompensationBegun,
    StepCompensationFailed,
    ToolSucceeded,
)
from astromesh.v1.signal_pb2 import RESOLVED_OUTCOME_SUCCEEDED, Signal
from astromesh.v1.values_pb2 import (
    TOOL_EFFECT_KIND_READ,
    TOOL_EFFECT_KIND_WRITE,
    Content,
    Failure,
    ToolCall,
    ToolResult,
)
from astromesh_core.errors import AstromeshError, Cancelled, InvalidInput, NotFound, PermanentError
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.tool_recovery import Compensate
from astromesh_runtime.controls import Controls, control_of
from astromesh_runtime.executing import START_WITHIN_NANO, execute, timeout_of
from astromesh_runtime.other_calls import other_call
from astromesh_runtime.reconciling import LONGEST_PAUSE_SECONDS, reconcile, settled_until
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import RunScope
from astromesh_runtime.waits import Waits

_UNKNOWN = "nobody knows whether it was done"
_NO_WAY = "its tool declares no way to undo it"


def compensation_of(
    scope: RunScope, cause: Failure, *, imposed: bool, principal: str = "", partial_answer: Content | None = None
) -> CompensationStarted | None:
    """How a run that ends for this cause begins to undo what it did; None where there is nothing that it could undo, or
    it has begun. To be recorded by the caller, by `begin`."""
    if scope.recorded.interventions.compensation is not None or not scope.agent.controls:
        return None
    paths = [path for path in reversed(scope.recorded.intents) if _way(scope, path) or _may_be_found(scope, path)]
    if not paths:
        return None
    return CompensationStarted(
        cause=cause, imposed=imposed, principal=principal, partial_answer=partial_answer, paths=paths
    )


def cancelling(scope: RunScope, signal: Signal, seen: str = "") -> CompensationStarted | None:
    """The same for a run that is cancelled, of whose answer its user has seen this much."""
    cause = failure_of(Cancelled(signal.cancel.reason or "the run was cancelled"))
    partial = text_content(plain(signal.cancel.seen) or seen)
    return compensation_of(scope, cause, imposed=True, principal=signal.principal, partial_answer=partial)


def begin(scope: RunScope, started: CompensationStarted, signal_id: str = "") -> int:
    """Records that the run is being undone. From here on nothing else is done in it."""
    event = RunEvent(compensation_started=started)
    scope.recorded.interventions.add(event)
    return scope.record(event, signal_id=signal_id)


async def compensate(scope: RunScope) -> None:
    """Undoes the steps that are left to be undone. Raises Waits at one that cannot be."""
    interventions = scope.recorded.interventions
    started = interventions.compensation
    assert started is not None
    for path in started.paths:
        if path in scope.recorded.unknown and path not in interventions.undone:
            await _look_up(scope, path)
        way = _way(scope, path)
        if path in interventions.undone or path in interventions.left or way is None:
            continue
        if path not in interventions.stuck:
            await _Undoing(scope, path, way).perform()
        if path in interventions.stuck:
            name = scope.recorded.intents[path][-1].call.name
            raise Waits(SUSPENSION_REASON_COMPENSATION, path, f"{name} could not be undone")


def left_steps(scope: RunScope) -> list[LeftStep]:
    """What the run did, or may have done, and nobody undid."""
    interventions, found = scope.recorded.interventions, list[LeftStep]()
    for path, intents in scope.recorded.intents.items():
        reason = _left(scope, path)
        if reason and path not in interventions.undone:
            found.append(LeftStep(path=path, name=intents[-1].call.name, reason=reason))
    return found


def resolved(scope: RunScope, signal: Signal) -> RunEvent | None:
    """The event by which a human settles a step that could not be undone; None where the signal is about none."""
    resolve, failed = signal.resolve, scope.recorded.interventions.stuck.get(signal.resolve.path)
    if failed is None:
        return None
    by = signal.principal or "somebody"
    if resolve.outcome == RESOLVED_OUTCOME_SUCCEEDED:
        result = ToolResult(tool_call_id=failed.call.id, name=failed.call.name, output=resolve.result)
        return RunEvent(
            step_compensated=StepCompensated(path=failed.path, call=failed.call, result=result, resolved_by=by)
        )
    left = StepCompensationFailed(path=failed.path, call=failed.call, failure=failed.failure, resolved_by=by)
    return RunEvent(step_compensation_failed=left)


def _way(scope: RunScope, path: str) -> Compensate | None:
    """How a step is undone; None where it was not done, or there is no safe way."""
    controls = _controls(scope, path)
    declared = controls.compensate if controls is not None else None
    if declared is None or not _may_be_done(scope, path):
        return None
    return declared if path in scope.recorded.outcomes or declared.when_unknown else None


def _may_be_found(scope: RunScope, path: str) -> bool:
    """Whether it can be looked up if a step that could be undone was done."""
    controls = _controls(scope, path)
    return path in scope.recorded.unknown and bool(controls and controls.compensate and controls.reconcile)


async def _look_up(scope: RunScope, path: str) -> None:
    """Records what became of a step that nobody knows of, where its tool says how that is found out."""
    controls, start = _controls(scope, path), scope.clock()
    if controls is None or controls.reconcile is None:
        return
    found = await reconcile(scope, controls.reconcile, scope.recorded.intents[path][-1])
    if found is None:
        return
    found.timing.CopyFrom(scope.timing(start))
    succeeded = isinstance(found, ToolSucceeded)
    scope.record(RunEvent(tool_succeeded=found) if succeeded else RunEvent(tool_failed=found))
    scope.recorded.outcomes[path] = found
    scope.recorded.unknown.discard(path)


def _controls(scope: RunScope, path: str) -> Controls | None:
    name = scope.recorded.intents[path][-1].call.name
    return control_of(scope.agent.controls, name, scope.tool(name))


def _may_be_done(scope: RunScope, path: str) -> bool:
    if scope.recorded.intents[path][-1].effect == TOOL_EFFECT_KIND_READ:
        return False
    outcome = scope.recorded.outcomes.get(path)
    if outcome is None:
        return path in scope.recorded.unknown
    return isinstance(outcome, ToolSucceeded) and not outcome.result.is_error


def _left(scope: RunScope, path: str) -> str:
    interventions = scope.recorded.interventions
    if path in interventions.left:
        return f"{interventions.left[path]} left it"
    if path in interventions.stuck:
        return "it could not be undone"
    if not _may_be_done(scope, path):
        return ""
    return _NO_WAY if path in scope.recorded.outcomes else _UNKNOWN


class _Undoing:
    """The undoing of one step, as far as the log has it."""

    def __init__(self, scope: RunScope, path: str, declared: Compensate) -> None:
        self._scope = scope
        self._path = path
        self._intent = scope.recorded.intents[path][-1]
        self._begun = scope.recorded.interventions.undoing.setdefault(path, [])
        self._declared = declared
        self._spec = scope.tool(declared.tool)
        self._kind = self._spec.effect if self._spec is not None else TOOL_EFFECT_KIND_WRITE

    async def perform(self) -> None:
        """Records that the step is undone, or that it could not be."""
        try:
            call = self._call()
        except PermanentError as error:
            self._fail(ToolCall(name=self._declared.tool), failure_of(error))
            return
        if self._path in self._scope.recorded.unknown:
            # It may be at work still, and would be done after it was undone.
            await self._sleep_until(settled_until(self._intent))
        if self._begun and self._kind == TOOL_EFFECT_KIND_WRITE:
            self._fail(call, _without_answer(self._declared.tool))
            return
        await self._attempt(call)

    async def _attempt(self, call: ToolCall) -> None:
        failure = Failure()
        attempts = max(self._declared.attempts, len(self._begun) + 1)
        while len(self._begun) < attempts:
            if failure.error_class:
                pause = self._declared.pause_seconds * 2 ** (len(self._begun) - 1)
                await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
            start = self._scope.clock()
            begun = await self._begin(call)
            key = f"{self._scope.run_id}:{self._path}:compensation"
            try:
                answered = await execute(self._scope, call, self._path, key, begun.start_before_unix_nano)
            except AstromeshError as error:
                failure = failure_of(error)
                if self._kind == TOOL_EFFECT_KIND_WRITE:
                    failure = _without_answer(self._declared.tool)
                    break
                continue
            if answered.HasField("result") and not answered.result.is_error:
                self._record_undone(call, answered.result, start)
                return
            failure = answered.failure if answered.HasField("failure") else _refused(answered.result)
        self._fail(call, failure)

    async def _begin(self, call: ToolCall) -> StepCompensationBegun:
        begun = StepCompensationBegun(
            path=self._path,
            call=call,
            effect=self._kind,
            start_before_unix_nano=self._scope.clock() + START_WITHIN_NANO,
            timeout_ms=timeout_of(self._spec),
            attempt=len(self._begun) + 1,
        )
        self._begun.append(begun)
        await self._scope.stored(self._scope.record(RunEvent(step_compensation_begun=begun)))
        return begun

    def _call(self) -> ToolCall:
        if self._spec is None:
            raise NotFound(f"there is no tool {self._declared.tool!r} in the run's catalogue")
        outcome = self._scope.recorded.outcomes.get(self._path)
        result = outcome.result if isinstance(outcome, ToolSucceeded) else None
        key = f"{self._scope.run_id}:{self._path}"
        return other_call(self._declared, "compensate", self._intent.call, key, result)

    def _record_undone(self, call: ToolCall, result: ToolResult, start: int) -> None:
        timing = self._scope.timing(start)
        self._record(
            RunEvent(step_compensated=StepCompensated(path=self._path, call=call, result=result, timing=timing))
        )

    def _fail(self, call: ToolCall, failure: Failure) -> None:
        failed = StepCompensationFailed(path=self._path, call=call, failure=failure)
        self._record(RunEvent(step_compensation_failed=failed))

    def _record(self, event: RunEvent) -> None:
        self._scope.recorded.interventions.add(event)
        self._scope.record(event)

    async def _sleep_until(self, unix_nano: int) -> None:
        await asyncio.sleep(max(0.0, (unix_nano - self._scope.clock()) / 1e9))


def _without_answer(tool: str) -> Failure:
    told = f"{tool} gave no answer: nobody knows whether it undid the step"
    return Failure(error_class="unknown", message=text_content(told))


def _refused(result: ToolResult) -> Failure:
    return Failure(error_class=InvalidInput.code, message=result.output)
