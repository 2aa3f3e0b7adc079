"""Metrics and a span around each attempt at a candidate. What was said is recorded nowhere here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Self

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


class Attempted:
    """An attempt under measurement, which ends with the block, also where the caller leaves it.

    A block and no generator around the parts: that would cost as much as all that it counts.
    """

    __slots__ = ("_begun", "_children", "_clock", "_entered", "_first", "_outcome", "_span")

    def __init__(self, children: Children, clock: Callable[[], int], span: AbstractContextManager[Span] | None) -> None:
        self._children = children
        self._clock = clock
        self._span = span
        self._entered: Span | None = None
        self._begun = self._first = 0
        self._outcome = CANCELLED

    def __enter__(self) -> Self:
        self._begun = self._clock()
        if self._span is not None:
            self._entered = self._span.__enter__()
        return self

    def note(self, part: Part) -> None:
        """Takes a part as it comes; the reply is the last."""
        self._first = self._first or self._clock()
        if isinstance(part, Reply):
            self._outcome = "ok"
            self._note_reply(part)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CandidateFailed):
            self._outcome = error.error.code
            if self._entered is not None:
                self._entered.fail(self._outcome)
        children = self._children
        children.outcome(self._outcome).inc()
        children.seconds.observe((self._clock() - self._begun) / 1e9)
        if self._first:
            children.first_token.observe((self._first - self._begun) / 1e9)
        if self._span is not None:
            self._span.__exit__(kind, error, trace)

    def _note_reply(self, reply: Reply) -> None:
        usage, span = reply.usage, self._entered
        if usage is not None:
            self._children.input_tokens.observe(usage.input_tokens)
            self._children.output_tokens.observe(usage.output_tokens)
        if span is not None:
            span.set(gen_ai.FINISH_REASONS, [reply.finish_reason])
            if usage is not None:
                span.set(gen_ai.INPUT_TOKENS, usage.input_tokens)
                span.set(gen_ai.OUTPUT_TOKENS, usage.output_tokens)


class Meter:
    """Measures attempts. `clock` counts nanoseconds."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], int]) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._children: dict[tuple[str, str], Children] = {}

    def attempt(self, candidate: Candidate, request: CompleteRequest) -> Attempted:
        """Measures the block in which a candidate is asked; `note` each part in it."""
        metrics = self._telemetry.metrics
        labels = (metrics.provider(candidate.provider), metrics.model(candidate.model))
        children = self._children.get(labels)
        if children is None:
            children = self._children[labels] = Children(metrics, *labels)
        return Attempted(children, self._clock, self._span(candidate, request))

    def _span(self, candidate: Candidate, request: CompleteRequest) -> AbstractContextManager[Span] | None:
        if not self._telemetry.spans.recording:
            return None
        attributes = {
            gen_ai.OPERATION: gen_ai.CHAT,
            gen_ai.PROVIDER: candidate.provider,
            gen_ai.REQUEST_MODEL: candidate.model,
            gen_ai.RUN_ID: request.run_id,
            gen_ai.EFFECT_PATH: request.path,
        }
        return self._telemetry.span(f"{gen_ai.CHAT} {candidate.model}", kind="client", attributes=attributes)
