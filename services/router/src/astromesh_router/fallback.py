"""Asks an agent's candidates in their order until one gives a complete reply. How a model is asked: `dialects`.

Rules: a candidate that fails before its first text is passed over silently; one that fails after it is followed by a
Restart, which makes the text so far void. The completion comes last and once. When none answered, the most hopeful
error is raised.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, Completion, Restart
from astromesh.v1.values_pb2 import Charge, Route, RouteStep
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.candidates import Candidate
from astromesh_router.completion import assistant_message, cost_nanos, estimated_usage
from astromesh_router.deadlines import in_time
from astromesh_router.dialects.port import Dialect, Reply
from astromesh_router.failures import CandidateFailed, failed, none_answered
from astromesh_router.measuring import Meter

STRATEGY = "in_order"


class Fallback:
    """Completes a request with the first candidate that can."""

    def __init__(
        self,
        dialects: Mapping[str, Dialect],
        telemetry: Telemetry,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._dialects = dialects
        self._clock = clock
        self._meter = Meter(telemetry, clock)

    async def complete(
        self, candidates: Sequence[Candidate], request: CompleteRequest
    ) -> AsyncGenerator[CompleteResponse, None]:
        """Yields what the contract's Complete yields. Closing the generator stops the model. Raises AstromeshError."""
        if not candidates:
            raise InvalidInput("the agent names no model")
        attempt = Attempt(request, self._clock)
        for candidate in candidates:
            try:
                with self._meter.attempt(candidate, request) as attempted:
                    async with aclosing(self._parts(candidate, request)) as parts:
                        async for part in parts:
                            attempted.note(part)
                            if isinstance(part, Reply):
                                yield attempt.completed(candidate, part)
                                return
                            if part:
                                yield attempt.text(part)
            except CandidateFailed as failure:
                restart = attempt.failed(candidate, failure)
                if restart and candidate is not candidates[-1]:
                    yield restart
        raise none_answered(attempt.failures)

    def _parts(self, candidate: Candidate, request: CompleteRequest) -> AsyncGenerator[str | Reply, None]:
        stream = self.dialect(candidate).stream(candidate, request)
        return in_time(stream, candidate)

    def dialect(self, candidate: Candidate) -> Dialect:
        """How a candidate is talked to. Raises CandidateFailed for a dialect that is not built."""
        dialect = self._dialects.get(candidate.dialect)
        if dialect is None:
            raise failed(candidate, NotSupported, f"the {candidate.dialect} dialect is not built here")
        return dialect


class Attempt:
    """One call on its way through the candidates: what was tried, and what the caller has seen."""

    def __init__(self, request: CompleteRequest, clock: Callable[[], int]) -> None:
        self._request = request
        self._clock = clock
        self._begun = clock()
        self._first_token = 0
        self._steps: list[RouteStep] = []
        self.failures: list[CandidateFailed] = []

    def text(self, delta: str) -> CompleteResponse:
        self._mark_first_token()
        return CompleteResponse(text_delta=delta)

    def failed(self, candidate: Candidate, failure: CandidateFailed) -> CompleteResponse | None:
        """Notes a failure; a Restart where the caller has seen text of it."""
        step = RouteStep(
            provider=candidate.provider,
            model=candidate.model,
            error_class=failure.error.code,
            reason=failure.reason,
        )
        self._steps.append(step)
        self.failures.append(failure)
        seen, self._first_token = self._first_token, 0
        reason = f"{candidate.provider} {candidate.model}: {failure.reason}"
        return CompleteResponse(restart=Restart(reason=reason)) if seen else None

    def completed(self, candidate: Candidate, reply: Reply) -> CompleteResponse:
        self._mark_first_token()
        usage = reply.usage or estimated_usage(self._request, reply)
        charge = Charge(
            provider=candidate.provider,
            model=candidate.model,
            usage=usage,
            cost_nanos=cost_nanos(usage, candidate.prices),
            currency="USD",
        )
        chosen = RouteStep(provider=candidate.provider, model=candidate.model, chosen=True)
        completion = Completion(
            message=assistant_message(reply, self._request),
            finish_reason=reply.finish_reason,
            charge=charge,
            route=Route(strategy=STRATEGY, steps=[*self._steps, chosen]),
            time_to_first_token_nano=self._first_token,
        )
        return CompleteResponse(completion=completion)

    def _mark_first_token(self) -> None:
        self._first_token = self._first_token or self._clock() - self._begun
