"""Performs the model effect: begun is stored before any text is told, the reply is an event, deltas are not."""

from __future__ import annotations

import asyncio

import structlog

from astromesh.v1.router_pb2 import CompleteRequest, Completion
from astromesh.v1.run_events_pb2 import ModelCallBegun, ModelReplied, RunEvent
from astromesh.v1.signal_pb2 import Delta
from astromesh.v1.values_pb2 import Usage
from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.events.contents import plain
from astromesh_core.events.runs import add_usage
from astromesh_core.rpc.failures import PeerGone
from astromesh_core.rpc.streams import reading
from astromesh_runtime.effects import CallModel
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import RunScope

MODEL_CALL_SECONDS = 600.0
"""Longest a model call may take in all, where the run itself has no deadline: long local generations are common."""

ROUTER_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 4.0)
"""Before each further attempt at a router that is gone: long enough for one that is being replaced."""

DEADLINE_SLACK_SECONDS = 1.0
"""On top of the run's own deadline, which is to be what ends the call: then the log says that the run's time was up."""

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English text, for estimates that are marked as such."""

log = structlog.get_logger("astromesh.runtime")


async def call_model(scope: RunScope, effect: CallModel) -> ModelReplied:
    """Streams one model call and records its outcome. Answers it when its `begun` is stored."""
    call = _ModelCall(scope, effect)
    start = scope.clock()
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
        )
    except AstromeshError as error:
        outcome = ModelReplied(path=effect.path, effect_sha256=effect.sha256, failure=failure_of(error))
    await call.settle()
    outcome.timing.CopyFrom(scope.timing(start))
    lost = scope.recorded.begun.get(effect.path, 0)
    if lost:
        outcome.lost_usage.CopyFrom(_estimated(effect, lost))
        add_usage(scope.usage, outcome.lost_usage)
    add_usage(scope.usage, outcome.charge.usage)
    scope.seen = ""
    scope.record(RunEvent(model_replied=outcome))
    return outcome


def _estimated(effect: CallModel, calls: int) -> Usage:
    """What lost calls cost at least: their prompt. Nobody knows what they answered."""
    characters = sum(len(plain(message.content)) for message in effect.transcript.messages)
    return Usage(input_tokens=calls * (characters // CHARACTERS_PER_TOKEN + 1), estimated=True)


class _ModelCall:
    """One call: its attempts (each a `begun`) and the text published so far."""

    def __init__(self, scope: RunScope, effect: CallModel) -> None:
        self._scope = scope
        self._effect = effect
        self._publishes = not scope.agent.checks_output
        self._offset = 0
        self._attempt = scope.recorded.begun.get(effect.path, 0)
        self._stored = self._begin()

    async def stream(self) -> Completion:
        """The completion, with its text published on the way. A router that goes away is asked again.

        What it was about to answer is lost; a new attempt begins, as after a crash of this worker.
        """
        for pause in ROUTER_PAUSES_SECONDS:
            try:
                return await self._attempted()
            except PeerGone as error:
                log.info("model call begun again", run_id=self._scope.run_id, reason=error.message)
            await asyncio.sleep(pause)
            await self.settle()
            self._stored = self._begin()
        return await self._attempted()

    async def _attempted(self) -> Completion:
        left = self._scope.seconds_left()
        timeout = MODEL_CALL_SECONDS if left is None else left + DEADLINE_SLACK_SECONDS
        async with reading(self._scope.services.router.Complete(self._request(), timeout=timeout)) as parts:
            async for part in parts:
                kind = part.WhichOneof("part")
                if kind == "text_delta":
                    await self._tell(part.text_delta)
                elif kind == "restart":
                    await self.settle()
                    self._stored = self._begin()
                elif kind == "completion":
                    return part.completion
        raise Unavailable("the router ended the reply without a completion", retry_after=1.0)

    async def settle(self) -> None:
        """Returns when the last `begun` is stored: no outcome is used before."""
        await self._stored

    def _begin(self) -> asyncio.Task[None]:
        self._attempt += 1
        self._offset = 0
        self._scope.seen = ""
        effect = self._effect
        begun = ModelCallBegun(path=effect.path, effect_sha256=effect.sha256, role=effect.role)
        return self._scope.storing(self._scope.record(RunEvent(model_call_begun=begun)))

    def _request(self) -> CompleteRequest:
        scope, effect = self._scope, self._effect
        return CompleteRequest(
            agent=scope.agent.ref,
            role=effect.role,
            messages=effect.transcript.messages,
            tools=scope.agent.tools,
            run_id=scope.run_id,
            path=effect.path,
        )

    async def _tell(self, text: str) -> None:
        if not self._publishes:
            return
        # Also when it is done: it may have failed, and then this worker has lost the run.
        await self._stored
        scope = self._scope
        delta = Delta(
            run_id=scope.run_id,
            path=self._effect.path,
            epoch=scope.epoch,
            attempt=self._attempt,
            offset=self._offset,
            text=text,
        )
        scope.services.publish_delta(scope.namespace, delta)
        self._offset += len(text)
        scope.seen += text
