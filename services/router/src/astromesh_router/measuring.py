"""Metrics and a span around each attempt at a candidate. What was said is recorded nowhere here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial

from prometheus_client import Counter

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.metrics import Metrics
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.telemetry.tracing import Span
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.port import Part, Reply
from astromesh_router.failures import CandidateFailed

CANCELLED = "cancelled"


class Children:
    """The metrics of one model, looked up once: labels cost more than counting."""

    def __init__(self, metrics: Metrics, provider: str, model: str) -> None:
        self._calls = partial(metrics.model_calls.labels, provider, model)
        self._outcomes: dict[str, Counter] = {}
        self.seconds = metrics.model_seconds.labels(provider, model)
        self.first_token = metrics.first_token_seconds.labels(provider, model)
        self.input_tokens = metrics.tokens.labels(provider, model, "input")
        self.output_tokens = metrics.tokens.labels(provider, model, "output")

    def outcome(self, outcome: str) -> Counter:
        """The counter of one outcome: ok, cancelled, or an error's class."""
        if outcome not in self._outcomes:
            self._outcomes[outcome] = self._calls(outcome)
        return self._outcomes[outcome]


class Meter:
    """Measures attempts. `clock` counts nanoseconds."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], int]) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._children: dict[tuple[str, str], Children] = {}

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
        children = self._of(candidate)
        children.outcome(outcome).inc()
        children.seconds.observe((self._clock() - begun) / 1e9)
        if first:
            children.first_token.observe((first - begun) / 1e9)

    def _tokens(self, candidate: Candidate, reply: Reply, span: Span | None) -> None:
        usage = reply.usage
        if usage is not None:
            children = self._of(candidate)
            children.input_tokens.observe(usage.input_tokens)
            children.output_tokens.observe(usage.output_tokens)
        if span is not None:
            span.set(gen_ai.FINISH_REASONS, [reply.finish_reason])
            if usage is not None:
                span.set(gen_ai.INPUT_TOKENS, usage.input_tokens)
                span.set(gen_ai.OUTPUT_TOKENS, usage.output_tokens)

    def _of(self, candidate: Candidate) -> Children:
        metrics = self._telemetry.metrics
        labels = (metrics.provider(candidate.provider), metrics.model(candidate.model))
        children = self._children.get(labels)
        if children is None:
            children = self._children[labels] = Children(metrics, *labels)
        return children

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
