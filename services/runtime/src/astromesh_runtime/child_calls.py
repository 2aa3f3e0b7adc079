"""Performs the effect of running another agent, and takes in what came of it.

nothing recorded ──▶ started, admitted ──▶ the run waits, holding no worker ──signal──▶ finished
                 └─▶ finished, refused: not permitted, arguments that are no question, too deep, a cycle

A child is never started anew: its id follows from run and path. How it ends is an outcome that the parent works with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_CHILD,
    ChildFinished,
    ChildStarted,
    Lineage,
    RunEvent,
    RunTotals,
    ToolFailed,
)
from astromesh.v1.signal_pb2 import Signal
from astromesh.v1.values_pb2 import Content, Failure, ToolCall
from astromesh_core.agent_calls import question_of
from astromesh_core.errors import AstromeshError, Cancelled, Denied, InvalidInput, LimitExceeded, Unavailable
from astromesh_core.events.contents import plain, text_content
from astromesh_core.rpc.identity import Caller
from astromesh_runtime.allowances import ancestors_below
from astromesh_runtime.approvals import put_to_human
from astromesh_runtime.child_runs import ChildRuns, ended_signal
from astromesh_runtime.effects import CallAgent
from astromesh_runtime.forking import simulates
from astromesh_runtime.permits import judge
from astromesh_runtime.recorded import Recorded
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import RunScope
from astromesh_runtime.waits import Waits

MAX_DEPTH: Final = 8
"""Runs that may stand above a child."""

_ENDED_ABOVE: Final = "the run that started it has ended"


class ChildCall:
    """One child of a step."""

    reads = True
    """It may be started beside the step's other calls."""

    def __init__(self, scope: RunScope, member: CallAgent) -> None:
        self._scope = scope
        self._member = member
        self.path = member.path
        self._outcome = scope.recorded.tool_outcome(member)
        self._started = scope.recorded.children.get(member.path)
        self._waits: Waits | None = None
        self._edited: Content | None = None
        """What a human made of the model's arguments."""
        if self._started is not None:
            # A human may have changed what it is asked.
            self._member = replace(member, query=plain(self._started.query))
        self._intended: int | None = None

    @property
    def begun(self) -> bool:
        """Whether the log says anything of it."""
        return self._outcome is not None or self._started is not None

    def judge(self) -> None:
        """Records a refusal as the outcome of a child that is not to be, unless it was begun already."""
        if self.begun:
            return
        refusal = self._refusal()
        failure = failure_of(refusal) if refusal is not None else self._put_to_human()
        if failure is None:
            return
        member = self._member
        finished = ChildFinished(
            path=member.path,
            effect_sha256=member.sha256,
            agent=member.agent,
            call=member.call,
            failure=failure,
        )
        self._scope.record(RunEvent(child_finished=finished))
        self._scope.recorded.finish_child(finished)
        self._outcome = finished

    def _put_to_human(self) -> Failure | None:
        """Why the child is not to be; else it waits for a human, or is asked what one made of the question."""
        member = self._member
        put = put_to_human(self._scope, member.path, member.sha256, member.call) if member.call is not None else None
        if isinstance(put, Waits):
            self._waits = put
        elif isinstance(put, ToolCall):
            self._member = replace(member, query=question_of(plain(put.arguments)))
            self._edited = put.arguments
            # Whoever approves a call may edit it, within what is permitted.
            denied = self._denied(put)
            return failure_of(denied) if denied is not None else None
        return put.failure if isinstance(put, ToolFailed) else None

    def intend(self) -> None:
        """Records that the child is started, unless it is known already, or waits for a human."""
        if self.begun or self._waits is not None:
            return
        scope, member = self._scope, self._member
        caller = Caller(scope.requested.principal, scope.namespace, scope.requested.role)
        self._started = ChildStarted(
            path=member.path,
            effect_sha256=member.sha256,
            child_run_id=scope.services.children.name(caller, scope.run_id, member),
            agent=member.agent,
            call=member.call,
            query=text_content(member.query),
            edited_arguments=self._edited,
        )
        self._intended = scope.record(RunEvent(child_started=self._started))
        scope.recorded.start_child(self._started)

    async def settle(self) -> ChildFinished:
        """What came of the child. Raises Waits where it has not ended."""
        if isinstance(self._outcome, ChildFinished):
            return self._outcome
        if self._waits is not None:
            raise self._waits
        started = self._started
        assert started is not None
        if self._intended is not None:
            await self._scope.stored(self._intended)
        admission = asyncio.ensure_future(self._admit())
        # A request on its way arrives though the run is cancelled meanwhile: the cancel of the child has to follow it.
        self._scope.admissions.append(admission)
        await asyncio.shield(admission)
        if self._intended is None:
            event = await self._scope.services.children.end_of(self._scope.namespace, started.child_run_id)
            if event is not None:
                return _note_end(self._scope, started, event)
        detail = f"run {started.child_run_id} of agent {started.agent}"
        raise Waits(SUSPENSION_REASON_CHILD, self.path, detail, (started.child_run_id,))

    async def _admit(self) -> None:
        scope = self._scope
        await scope.services.children.admit(
            scope.requested, self._member, self._lineage(), scope.namespace, scope.traceparent
        )

    def _lineage(self) -> Lineage:
        scope, member = self._scope, self._member
        allowance = scope.agent.allowance
        return Lineage(
            ancestors=ancestors_below(scope.requested.lineage, scope.run_id, scope.agent.ref, allowance, scope.spent()),
            path=member.path,
            deadline_unix_nano=self._deadline(),
            handoffs=member.handoffs,
            simulated=simulates(scope.requested),
        )

    def _deadline(self) -> int:
        scope, member = self._scope, self._member
        spec = scope.tool(member.call.name) if member.call is not None else None
        timeout_ms = (spec.timeout_ms if spec is not None else 0) or int(member.timeout_seconds * 1000)
        own = scope.clock() + timeout_ms * 1_000_000 if timeout_ms else 0
        return min(filter(None, (own, scope.deadline())), default=0)

    def _denied(self, call: ToolCall) -> Denied | None:
        scope = self._scope
        return judge(scope.agent.permits, call, scope.tool(call.name), scope.requested.role)

    def _refusal(self) -> AstromeshError | None:
        scope, member = self._scope, self._member
        if member.call is not None and (denied := self._denied(member.call)) is not None:
            return denied
        if member.refused:
            return InvalidInput(member.refused)
        above = [ancestor.agent.name for ancestor in scope.requested.lineage.ancestors] + [scope.agent.ref.name]
        if member.agent in above:
            return LimitExceeded(
                f"agent {member.agent} is at work above this run: {' > '.join([*above, member.agent])}"
            )
        if len(above) > MAX_DEPTH:
            return LimitExceeded(f"no more than {MAX_DEPTH} runs may stand above one: {' > '.join(above)}")
        return None


async def finish_children(scope: RunScope, signals: Iterable[Signal]) -> None:
    """Records what came of every child that has ended: those that signals tell of, and whichever ended unnoticed.

    Raises Unavailable where the log does not show yet what a signal tells.
    """
    told = {signal.child.child_run_id for signal in signals if signal.HasField("child")}
    waited_for, children = scope.recorded.open_children(), scope.services.children
    ends = await asyncio.gather(*(children.end_of(scope.namespace, each.child_run_id) for each in waited_for))
    for started, event in zip(waited_for, ends, strict=True):
        if event is not None:
            _note_end(scope, started, event)
        elif started.child_run_id in told:
            raise Unavailable(f"the end of run {started.child_run_id} is not to be read yet", retry_after=0.05)


async def cancel_children(scope: RunScope) -> None:
    """Asks that the children which have not ended be cancelled, before their parent ends."""
    await asyncio.gather(*scope.admissions, return_exceptions=True)
    await cancel_open(scope.services.children, scope.namespace, scope.requested.principal, scope.recorded)


async def cancel_open(children: ChildRuns, namespace: str, principal: str, recorded: Recorded) -> None:
    """Asks that these children be cancelled, where they have not ended."""
    for started in recorded.open_children():
        await children.cancel(namespace, started.child_run_id, principal, _ENDED_ABOVE)


def totals_of(scope: RunScope) -> RunTotals | None:
    """What a child comes to where it ends now; None of a run that no other run waits for."""
    if not scope.requested.HasField("lineage"):
        return None
    usage, left = scope.bill.closing()
    cost_nanos = scope.bill.cost_nanos + scope.recorded.spent.cost_nanos
    return RunTotals(
        cost_nanos=cost_nanos + sum(charge.cost_nanos for charge in left.charges),
        tokens=usage.input_tokens + usage.output_tokens + scope.recorded.spent.tokens,
        waited_nano=scope.recorded.waited_nano,
    )


def _note_end(scope: RunScope, started: ChildStarted, event: RunEvent) -> ChildFinished:
    """Whoever found it: the signal of it, which may come later, means nothing more then."""
    finished = _finished(started, event)
    signal_id = ended_signal(started.child_run_id)
    scope.record(RunEvent(child_finished=finished), signal_id=signal_id)
    scope.recorded.finish_child(finished)
    scope.recorded.signals.add(signal_id)
    return finished


def _finished(started: ChildStarted, event: RunEvent) -> ChildFinished:
    finished = ChildFinished(
        path=started.path,
        effect_sha256=started.effect_sha256,
        child_run_id=started.child_run_id,
        totals=_totals(event),
        edited_arguments=started.edited_arguments if started.HasField("edited_arguments") else None,
    )
    if event.HasField("completed"):
        finished.answer.CopyFrom(event.completed.answer)
        finished.sources.extend(event.completed.sources)
        finished.handed_to = event.completed.handed_to
    elif event.HasField("cancelled"):
        told = f"run {started.child_run_id} of agent {started.agent} was cancelled"
        finished.failure.CopyFrom(Failure(error_class=Cancelled.code, message=text_content(told)))
    elif event.HasField("compensated"):
        finished.failure.CopyFrom(event.compensated.cause)
    else:
        finished.failure.CopyFrom(event.failed.failure)
    return finished


def _totals(event: RunEvent) -> RunTotals | None:
    ended = getattr(event, event.WhichOneof("event") or "")
    return ended.totals if ended.HasField("totals") else None
