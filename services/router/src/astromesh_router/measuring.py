"""Metrics and a span around each attempt at a candidate. What was said is recorded nowhere here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.telemetry.tracing import Span
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.port import Part, Reply
from astromesh_router.failures import CandidateFailed

CANCELLED = "cancelled"


class Meter:
    """Measures attempts. `clock` counts nanoseconds."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], int]) -> None:
        self._telemetry = telemetry
        self._clock = clock

    async def measured(
        self, parts: AsyncGenerator[Part, None], candidate: Candidate, request: CompleteRequest
    ) -> AsyncGenerator[Part, None]:
        """Passes the parts on and records how the attempt went, also where the caller leaves it."""
        begun, first, outcome = self._clock(), 0, CANCELLED
        with self._span(candidate, request) as span:
            try:
                async with aclosing(parts):
                    async for part in parts:
                        first = first or self._clock()
                        if isinstance(part, Reply):
                            outcome = "ok"
                            self._tokens(candidate, part, span)
                        yield part
            except CandidateFailed as failure:
                outcome = failure.error.code
                if span is not None:
                    span.fail(outcome)
                raise
            finally:
                self._count(candidate, outcome, begun, first)

    def _count(self, candidate: Candidate, outcome: str, begun: int, first: int) -> None:
        metrics = self._telemetry.metrics
        labels = (metrics.provider(candidate.provider), metrics.model(candidate.model))
        metrics.model_calls.labels(*labels, outcome).inc()
        metrics.model_seconds.labels(*labels).observe((self._clock() - begun) / 1e9)
        if first:
            metrics.first_token_seconds.labels(*labels).observe((first - begun) / 1e9)

    def _tokens(self, candidate: Candidate, reply: Reply, span: Span | None) -> None:
        metrics, usage = self._telemetry.metrics, reply.usage
        if usage is not None:
            labels = (metrics.provider(candidate.provider), metrics.model(candidate.model))
            metrics.tokens.labels(*labels, "input").observe(usage.input_tokens)
            metrics.tokens.labels(*labels, "output").observe(usage.output_tokens)
        if span is not None:
            span.set(gen_ai.FINISH_REASONS, [reply.finish_reason])
            if usage is not None:
                span.set(gen_ai.INPUT_TOKENS, usage.input_tokens)
                span.set(gen_ai.OUTPUT_TOKENS, usage.output_tokens)

    def _span(self, candidate: Candidate, request: CompleteRequest) -> AbstractContextManager[Span | None]:
        if not self._telemetry.spans.recording:
            return nullcontext()
        attributes = {
            gen_ai.OPERATION: gen_ai.CHAT,
            gen_ai.PROVIDER: candidate.provider,
            gen_ai.REQUEST_MODEL: candidate.model,
            gen_ai.RUN_ID: request.run_id,
            gen_ai.EFFECT_PATH: request.path,
        }
        return self._telemetry.span(f"{gen_ai.CHAT} {candidate.model}", kind="client", attributes=attributes)
