"""Performs tool effects: intent before call, and a third outcome.

read        may start, and be used, before its intent is stored, and be made again after a crash
idempotent  starts when its intent is stored; called again with the same key after a crash or a lost answer
write       starts when its intent is stored; without a definite answer it is `unknown`, never called again

A step of reads and of agents alone is made at once. Any other is made one call after the other, in the order that the
model gave it: a call may rest on what the one before it has changed. What is not permitted is denied first, without an
intent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_UNKNOWN,
    RunEvent,
    ToolFailed,
    ToolIntended,
    ToolOutcomeUnknown,
    ToolSucceeded,
)
from astromesh.v1.values_pb2 import (
    TOOL_EFFECT_KIND_IDEMPOTENT,
    TOOL_EFFECT_KIND_READ,
    TOOL_EFFECT_KIND_WRITE,
    ToolCall,
    ToolResult,
)
from astromesh_core.errors import AstromeshError, Cancelled
from astromesh_core.events.canonical import canonical_json
from astromesh_core.events.contents import text_content
from astromesh_runtime.approvals import put_to_human
from astromesh_runtime.child_calls import ChildCall
from astromesh_runtime.controls import control_of
from astromesh_runtime.effects import CallAgent, CallTool, CallTools, ToolOutcome
from astromesh_runtime.executing import START_WITHIN_NANO, execute, timeout_of
from astromesh_runtime.forking import simulates
from astromesh_runtime.permits import judge
from astromesh_runtime.reconciling import reconcile, settled_until
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import RunScope
from astromesh_runtime.waits import Waits, all_of

IDEMPOTENT_ATTEMPTS = 3
IDEMPOTENT_PAUSE_SECONDS = 0.5


async def call_tools(scope: RunScope, effect: CallTools) -> list[ToolOutcome]:
    """Performs what the log has no outcome for. Raises Waits when every call that had begun has settled, TimeoutError
    where the run's time was up before the next one began."""
    calls = [_opened(scope, member) for member in effect.calls]
    for call in calls:
        call.judge()
    if len(calls) > 1 and all(call.reads for call in calls):
        return await _at_once(calls)
    return [await _in_turn(scope, call) for call in calls]


def _opened(scope: RunScope, member: CallTool | CallAgent) -> _ToolCall | ChildCall:
    return ChildCall(scope, member) if isinstance(member, CallAgent) else _ToolCall(scope, member)


async def _at_once(calls: Sequence[_ToolCall | ChildCall]) -> list[ToolOutcome]:
    # Intents of one step go into one commit, before anything is sent.
    for call in calls:
        call.intend()
    return await all_of(map(_settled, calls))


async def _in_turn(scope: RunScope, call: _ToolCall | ChildCall) -> ToolOutcome:
    left = scope.seconds_left()
    if left is not None and left <= 0 and not call.begun:
        raise TimeoutError
    call.intend()
    return await _settled(call)


async def _settled(call: _ToolCall | ChildCall) -> ToolOutcome:
    outcome = await call.settle()
    if outcome is None:
        raise Waits(SUSPENSION_REASON_UNKNOWN, call.path, "the outcome of a write is unknown")
    return outcome


class _ToolCall:
    def __init__(self, scope: RunScope, member: CallTool) -> None:
        self._scope = scope
        self._member = member
        self.path = member.path
        spec = scope.tool(member.call.name)
        # A tool that nobody knows is refused by the tools service: nothing happens, so it is a read.
        self._kind = spec.effect if spec is not None else TOOL_EFFECT_KIND_READ
        self._timeout_ms = timeout_of(spec)
        self._recorded = scope.recorded.tool_outcome(member)
        self._earlier = scope.recorded.intents.get(member.path, [])
        self._intended: int | None = None
        self._waits: Waits | None = None
        self._call = self._earlier[-1].call if self._earlier else member.call
        """As it is made: a human may have changed its arguments."""

    @property
    def reads(self) -> bool:
        """Whether nothing can change by it."""
        return self._kind == TOOL_EFFECT_KIND_READ

    @property
    def begun(self) -> bool:
        """Whether the log says anything of it."""
        return self._recorded is not None or bool(self._earlier)

    def judge(self) -> None:
        """Records a denial as the outcome of a call that is not permitted, unless it was begun already."""
        if self.begun:
            return
        call, scope = self._member.call, self._scope
        if self._member.refused is not None:
            refused = ToolFailed(path=self.path, effect_sha256=self._member.sha256, failure=self._member.refused)
            self._recorded = self._record(refused, scope.clock())
            return
        if self._denied(call):
            return
        if self._kind != TOOL_EFFECT_KIND_READ and simulates(scope.requested):
            self._recorded = self._simulated()
            return
        self._put_to_human()

    def _simulated(self) -> ToolOutcome:
        """What stands for a call that may change nothing: the model reads that it was not made."""
        self._kind, member = TOOL_EFFECT_KIND_READ, self._member
        self._record_intent()
        told = canonical_json({"simulated": True, "tool": member.call.name})
        result = ToolResult(tool_call_id=member.call.id, name=member.call.name, output=text_content(told.decode()))
        outcome = ToolSucceeded(path=self.path, effect_sha256=member.sha256, result=result, simulated=True)
        return self._record(outcome, self._scope.clock())

    def _denied(self, call: ToolCall) -> bool:
        scope = self._scope
        denied = judge(scope.agent.permits, call, scope.tool(call.name), scope.requested.role)
        if denied is not None:
            failed = self._failed(denied)
            failed.call.CopyFrom(call)
            self._recorded = self._record(failed, scope.clock())
        return denied is not None

    def _put_to_human(self) -> None:
        put = put_to_human(self._scope, self.path, self._member.sha256, self._member.call)
        if isinstance(put, Waits):
            self._waits = put
        elif isinstance(put, ToolCall):
            # Whoever approves a call may edit it, within what is permitted.
            self._call = put
            self._denied(put)
        elif put is not None:
            self._recorded = self._record(put, self._scope.clock())

    def intend(self) -> None:
        """Records the intent, where this call is to be made (again)."""
        if self._waits is not None:
            return
        if self._recorded is None and not (self._earlier and self._kind == TOOL_EFFECT_KIND_WRITE):
            self._intended = self._record_intent()

    async def settle(self) -> ToolOutcome | None:
        """The outcome; None where it is unknown, which is recorded then. Raises Waits for a human."""
        if self._recorded is not None:
            return self._recorded
        if self._waits is not None:
            raise self._waits
        outcome = await self._settle()
        return await self._looked_up() if outcome is None else outcome

    async def _settle(self) -> ToolOutcome | None:
        if self._intended is None:
            return await self._judge()
        if self._kind == TOOL_EFFECT_KIND_READ:
            return await self._read()
        try:
            await self._scope.stored(self._intended)
        except asyncio.CancelledError:
            if self._scope.cancelling:
                self._record(self._failed(Cancelled("the run was cancelled before the call")), self._scope.clock())
            raise
        return await self._change()

    async def _looked_up(self) -> ToolOutcome | None:
        name = self._call.name
        controls = control_of(self._scope.agent.controls, name, self._scope.tool(name))
        if controls is None or controls.reconcile is None:
            return None
        start = self._scope.clock()
        found = await reconcile(self._scope, controls.reconcile, self._earlier[-1])
        return None if found is None else self._record(found, start)

    async def _read(self) -> ToolOutcome:
        # Its intent and its outcome go out with the next effect's begin, or alone where the call takes its time:
        # nobody outside can tell, for no text, no write and no answer goes ahead of what is recorded before it.
        start = self._scope.clock()
        try:
            outcome = await self._execute()
        except AstromeshError as error:
            outcome = self._failed(error)
        return self._record(outcome, start)

    async def _change(self) -> ToolOutcome | None:
        attempts = IDEMPOTENT_ATTEMPTS if self._kind == TOOL_EFFECT_KIND_IDEMPOTENT else 1
        for attempt in range(1, attempts + 1):
            start = self._scope.clock()
            try:
                return self._record(await self._execute(), start)
            except AstromeshError as error:
                if attempt == attempts:
                    return self._without_answer(error, start)
            except asyncio.CancelledError:
                if self._scope.cancelling and self._kind == TOOL_EFFECT_KIND_WRITE:
                    self._unknown("cancelled", start)
                raise
            await asyncio.sleep(IDEMPOTENT_PAUSE_SECONDS * attempt)
            await self._scope.stored(self._record_intent())
        raise AssertionError("unreachable: the last attempt returns")

    def _without_answer(self, error: AstromeshError, start: int) -> ToolOutcome | None:
        if self._kind == TOOL_EFFECT_KIND_WRITE:
            return self._unknown(error.code, start)
        return self._record(self._failed(error), start)

    async def _execute(self) -> ToolSucceeded | ToolFailed:
        member, key = self._member, f"{self._scope.run_id}:{self.path}"
        start_before = self._earlier[-1].start_before_unix_nano
        response = await execute(self._scope, self._call, self.path, key, start_before)
        if response.HasField("failure"):
            return ToolFailed(path=member.path, effect_sha256=member.sha256, failure=response.failure)
        return ToolSucceeded(path=member.path, effect_sha256=member.sha256, result=response.result)

    async def _judge(self) -> None:
        """Notes a write that a crash cut as unknown, when nobody can act on its intent any more."""
        try:
            await asyncio.sleep(max(0.0, (settled_until(self._earlier[-1]) - self._scope.clock()) / 1e9))
        except asyncio.CancelledError:
            if self._scope.cancelling:
                self._unknown("crash", self._scope.clock())
            raise
        self._unknown("crash", self._scope.clock())

    def _record_intent(self) -> int:
        member = self._member
        attempt = len(self._earlier) + 1
        intent = ToolIntended(
            path=member.path,
            effect_sha256=member.sha256,
            call=self._call,
            effect=self._kind,
            start_before_unix_nano=self._scope.clock() + START_WITHIN_NANO,
            timeout_ms=self._timeout_ms,
            attempt=attempt,
        )
        self._earlier = [*self._earlier, intent]
        self._scope.recorded.intents[self.path] = self._earlier
        return self._scope.record(RunEvent(tool_intended=intent))

    def _failed(self, error: AstromeshError) -> ToolFailed:
        return ToolFailed(path=self.path, effect_sha256=self._member.sha256, failure=failure_of(error))

    def _record(self, outcome: ToolSucceeded | ToolFailed, start: int) -> ToolOutcome:
        outcome.timing.CopyFrom(self._scope.timing(start))
        if self._call.arguments != self._member.call.arguments:
            outcome.edited_arguments.CopyFrom(self._call.arguments)
        if isinstance(outcome, ToolSucceeded):
            if outcome.result.HasField("whole"):
                self._scope.cut[self.path] = outcome.result.whole
            self._scope.record(RunEvent(tool_succeeded=outcome))
        else:
            self._scope.record(RunEvent(tool_failed=outcome))
        self._scope.recorded.outcomes[self.path] = outcome
        self._scope.recorded.unknown.discard(self.path)
        return outcome

    def _unknown(self, reason: str, start: int) -> None:
        if self.path in self._scope.recorded.unknown:
            return
        event = ToolOutcomeUnknown(
            path=self.path,
            effect_sha256=self._member.sha256,
            reason=reason,
            timing=self._scope.timing(start),
        )
        self._scope.record(RunEvent(tool_outcome_unknown=event))
        self._scope.recorded.unknown.add(self.path)
