"""Performs the model effect: begun is stored before any text is told, the reply is an event, deltas are not."""

from __future__ import annotations

import asyncio

import structlog

from astromesh.v1.router_pb2 import CompleteRequest, Completion, RunSpend
from astromesh.v1.run_events_pb2 import ModelCallBegun, ModelReplied, RunEvent
from astromesh.v1.signal_pb2 import Delta
from astromesh.v1.values_pb2 import Route
from astromesh_core.errors import AstromeshError, BudgetExceeded, TimedOut, Unavailable
from astromesh_core.events.billing import Unbilled, prompt_tokens
from astromesh_core.events.runs import FRAME_PATH
from astromesh_core.rpc.failures import PeerGone, PeerUnreached
from astromesh_core.rpc.streams import reading
from astromesh_runtime.allowances import inherited
from astromesh_runtime.cost_limits import Used
from astromesh_runtime.effects import CallModel
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import RunScope
from astromesh_runtime.telling import Teller, is_told, teller

MODEL_CALL_SECONDS = 600.0
"""Longest a model call may take in all, where the run itself has no deadline: long local generations are common."""

ROUTER_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 4.0)
"""Before each further attempt at a router that is gone: long enough for one that is being replaced."""

DEADLINE_SLACK_SECONDS = 1.0
"""On top of the run's own deadline, which is to be what ends the call: then the log says that the run's time was up."""

WORKER_GONE = "the worker that had asked is gone"
ROUTER_GONE = "the router that was asked is gone"
"""Why a call is begun again, where it is not the router that says so."""

log = structlog.get_logger("astromesh.runtime")


async def call_model(scope: RunScope, effect: CallModel) -> ModelReplied:
    """Streams one model call and records its outcome. Answers it when its `begun` is stored."""
    start = scope.clock()
    limited = _limited(scope, effect)
    if limited is not None and limited.HasField("failure"):
        return _replied(scope, limited, start)
    call = _ModelCall(scope, effect)
    try:
        completion = await call.stream()
        outcome = ModelReplied(
            path=effect.path,
            effect_sha256=effect.sha256,
            message=completion.message,
            finish_reason=completion.finish_reason,
            charge=completion.charge,
            route=completion.route,
            time_to_first_token_nano=completion.time_to_first_token_nano,
            partial_charges=scope.bill.unbilled(effect.path).charges,
        )
    except AstromeshError as error:
        if limited is not None and isinstance(error, BudgetExceeded):
            scope.agent.guards.costs.blame(limited.verdicts, error.message)
        unbilled = call.unbilled(error)
        outcome = ModelReplied(
            path=effect.path,
            effect_sha256=effect.sha256,
            failure=failure_of(error),
            route=call.failed_route,
            lost_usage=unbilled.estimate,
            partial_charges=unbilled.charges,
        )
    await call.settle()
    if limited is not None:
        outcome.MergeFrom(limited)
    return _replied(scope, outcome, start)


def _replied(scope: RunScope, outcome: ModelReplied, start: int) -> ModelReplied:
    outcome.timing.CopyFrom(scope.timing(start))
    scope.seen = []
    scope.record(RunEvent(model_replied=outcome))
    return outcome


def _limited(scope: RunScope, effect: CallModel) -> ModelReplied | None:
    """What the agent's cost limits say of the call: their verdicts, and the failure where it may not be made. None of
    an agent without any."""
    limits = scope.agent.guards.costs
    if not limits:
        return None
    usage, left = scope.bill.closing()
    money = scope.bill.cost_nanos + sum(charge.cost_nanos for charge in left.charges)
    told = limits.judge(
        Used(usage.input_tokens + usage.output_tokens, money),
        _spent_below(scope),
        prompt_tokens(effect.transcript.messages, scope.agent.tools if effect.offers_tools else ()),
    )
    outcome = ModelReplied(verdicts=told.verdicts, policy_sha256=limits.policy_sha256)
    if told.refusal:
        outcome.path, outcome.effect_sha256 = effect.path, effect.sha256
        outcome.failure.CopyFrom(failure_of(BudgetExceeded(told.refusal)))
    return outcome


def _spent_below(scope: RunScope) -> Used:
    return Used(scope.recorded.spent.tokens, scope.recorded.spent.cost_nanos)


class _ModelCall:
    """One call: its attempts (each a `begun`), what came of the last, and the text published of it."""

    def __init__(self, scope: RunScope, effect: CallModel) -> None:
        self._scope = scope
        self._effect = effect
        # An answer that has yet to be checked is told to nobody.
        self._publishes = is_told(scope, effect)
        self._teller: Teller | None = None
        self._offset = 0
        self._attempt = scope.recorded.begun.get(effect.path, 0)
        self._tools = scope.agent.tools if effect.offers_tools else ()
        self._prompt_tokens = prompt_tokens(effect.transcript.messages, self._tools)
        self.answered = 0
        """Characters of the reply under way, thinking included, published or not."""
        self.charged = False
        """The router has told what the last candidate cost, and nothing of another one came since."""
        self.failed_route: Route | None = None
        """Of a call that no candidate answered."""
        self._stored = self._begin(WORKER_GONE if self._attempt else "")

    async def stream(self) -> Completion:
        """The completion, with its text published on the way. A router that goes away is asked again.

        What it was about to answer is lost; a new attempt begins, as after a crash of this worker. One that was never
        sent is sent later: nothing of it is lost.
        """
        for pause in ROUTER_PAUSES_SECONDS:
            try:
                return await self._attempted()
            except PeerGone as error:
                log.info("model call asked again", run_id=self._scope.run_id, reason=error.message)
                lost = not isinstance(error, PeerUnreached)
            await asyncio.sleep(pause)
            if lost:
                await self.settle()
                self._stored = self._begin(ROUTER_GONE)
        return await self._attempted()

    def unbilled(self, error: AstromeshError) -> Unbilled:
        """What a call that ended so is billed; estimated where a model may have worked and nobody told what it cost."""
        unbilled = self._scope.bill.unbilled(self._effect.path)
        unanswered = isinstance(error, PeerGone | TimedOut) and not isinstance(error, PeerUnreached)
        if self.answered > 0 or (unanswered and not self.charged):
            return unbilled.lost()
        return Unbilled(charges=unbilled.charges)

    async def _attempted(self) -> Completion:
        left = self._scope.seconds_left()
        timeout = MODEL_CALL_SECONDS if left is None else left + DEADLINE_SLACK_SECONDS
        timeout = min(timeout, self._effect.timeout_seconds or timeout)
        async with reading(self._scope.services.router.Complete(self._request(), timeout=timeout)) as parts:
            async for part in parts:
                kind = part.WhichOneof("part")
                if part.HasField("asked"):
                    self._scope.bill.answered(self._effect.path, part.asked)
                if kind == "text_delta":
                    await self._tell(part.text_delta)
                elif kind == "reasoning_delta":
                    await self._think(part.reasoning_delta)
                elif kind == "partial_charge":
                    self._scope.bill.charged(self._effect.path, part.partial_charge)
                    self.answered, self.charged = 0, True
                elif kind == "restart":
                    await self.settle()
                    self._stored = self._begin(part.restart.reason, charged=not self.answered)
                elif kind == "failed_route":
                    self.failed_route = part.failed_route
                elif kind == "completion":
                    if self._teller is not None:
                        await self._publish_text(await self._teller.put("", last=True))
                    return part.completion
        raise Unavailable("the router ended the reply without a completion", retry_after=1.0)

    async def settle(self) -> None:
        """Returns when the last `begun` is stored: no outcome is used before."""
        await self._scope.settled(self._stored)

    def _begin(self, reason: str, *, charged: bool = False) -> asyncio.Future[None]:
        """Begins, anew where there is a reason to. `charged`: the router has told what the call before it cost, and
        nothing of it is estimated."""
        self._offset = self.answered = 0
        self.charged = False
        scope, effect = self._scope, self._effect
        scope.seen = []
        self._teller = teller(scope) if self._publishes else None
        unbilled = scope.bill.unbilled(effect.path)
        unbilled = Unbilled(charges=unbilled.charges) if charged else unbilled.lost()
        begun = ModelCallBegun(
            path=effect.path,
            effect_sha256=effect.sha256,
            role=effect.role,
            prompt_tokens=self._prompt_tokens,
            partial_charges=unbilled.charges,
            reason=reason,
            unheard=not (effect.is_heard or effect.path == FRAME_PATH),
        )
        if unbilled.estimate is not None:
            begun.lost_usage.CopyFrom(unbilled.estimate)
            # An earlier release did not store what it was about to send.
            begun.lost_usage.input_tokens = begun.lost_usage.input_tokens or self._attempt * self._prompt_tokens
        self._attempt += 1
        return scope.storing(scope.record(RunEvent(model_call_begun=begun)))

    def _request(self) -> CompleteRequest:
        scope, effect = self._scope, self._effect
        cost_nanos, tokens = scope.spent()
        return CompleteRequest(
            agent=scope.agent.ref,
            role=effect.role,
            messages=effect.transcript.messages,
            tools=self._tools,
            run_id=scope.run_id,
            path=effect.path,
            output_schema_json=effect.output_schema_json,
            principal=scope.requested.principal,
            attempt=self._attempt,
            run_spend=RunSpend(cost_nanos=cost_nanos, tokens=tokens),
            inherited=[
                *inherited(scope.requested.lineage),
                *scope.agent.guards.costs.for_router(scope.agent.ref, _spent_below(scope)),
            ],
        )

    async def _tell(self, text: str) -> None:
        self._hear(text)
        if self._publishes:
            await self._publish_text(text if self._teller is None else await self._teller.put(text))

    async def _publish_text(self, text: str) -> None:
        if text:
            await self._publish(Delta(offset=self._offset, text=text))
            self._offset += len(text)
            self._scope.seen.append(text)

    async def _think(self, text: str) -> None:
        self._hear(text)
        if self._effect.is_heard and not self._scope.agent.checks_output:
            await self._publish(Delta(thought=self._scope.recorded.masks.restored(text)))

    def _hear(self, text: str) -> None:
        self.answered += len(text)
        self.charged = False
        self._scope.bill.heard(self._effect.path, self.answered)

    async def _publish(self, delta: Delta) -> None:
        # Also when it is done: it may have failed, and then this worker has lost the run.
        await self._scope.settled(self._stored)
        scope = self._scope
        delta.run_id, delta.path, delta.epoch = scope.run_id, self._effect.path, scope.epoch
        delta.attempt = self._attempt
        scope.services.publish_delta(scope.namespace, delta)
