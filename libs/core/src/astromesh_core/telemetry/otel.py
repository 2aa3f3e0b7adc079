"""Spans by the OpenTelemetry SDK, sent over OTLP/HTTP. Imported only where an endpoint or an exporter is configured,
because the SDK costs start-up time and memory that a mesh without a collector should not pay."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import SpanKind as SdkKind

from astromesh_core.errors import AstromeshError, Bug, Cancelled
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.traceparent import TraceContext, current_traceparent, enter_trace, leave_trace, parse
from astromesh_core.telemetry.tracing import Attributes, AttributeValue, SpanKind

_KINDS: dict[SpanKind, SdkKind] = {
    "internal": SdkKind.INTERNAL,
    "server": SdkKind.SERVER,
    "client": SdkKind.CLIENT,
    "producer": SdkKind.PRODUCER,
    "consumer": SdkKind.CONSUMER,
}


class _RecordedSpan:
    """An open span, which is its own context manager: entered once, ended when left."""

    def __init__(self, span: SdkSpan, record_content: bool) -> None:
        self._span = span
        self._record_content = record_content
        context = span.get_span_context()
        self.traceparent = TraceContext(
            f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled
        ).encode()

    def set(self, name: str, value: AttributeValue) -> None:
        if self._record_content or name not in gen_ai.CONTENT:
            self._span.set_attribute(name, value)

    def fail(self, error_class: str) -> None:
        self._span.set_attribute(gen_ai.ERROR_TYPE, error_class)
        self._span.set_status(Status(StatusCode.ERROR, error_class))

    def __enter__(self) -> Self:
        self._token = enter_trace(self.traceparent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave_trace(self._token)
        if isinstance(error, asyncio.CancelledError):
            self.fail(Cancelled.code)
        elif error is not None and not isinstance(error, GeneratorExit):
            self.fail(error.code if isinstance(error, AstromeshError) else Bug.code)
        self._span.end()


class RecordedSpans:
    """Spans that go to a collector, or to an exporter that a test reads."""

    recording = True

    def __init__(self, provider: TracerProvider, *, record_content: bool) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("astromesh")
        self._record_content = record_content

    def span(
        self, name: str, *, kind: SpanKind = "internal", attributes: Attributes | None = None, parent: str = ""
    ) -> _RecordedSpan:
        inner = self._tracer.start_span(name, context=_under(parent or current_traceparent()), kind=_KINDS[kind])
        span = _RecordedSpan(inner, self._record_content)
        for key, value in (attributes or {}).items():
            span.set(key, value)
        return span

    def close(self) -> None:
        """Sends what is left and stops the exporter."""
        self._provider.shutdown()


def exporting(service: str, instance: str, endpoint: str, *, record_content: bool) -> RecordedSpans:
    """Spans sent in batches to an OTLP/HTTP collector at `endpoint` (its base address, e.g. http://localhost:4318)."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider = _provider(service, instance)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return RecordedSpans(provider, record_content=record_content)


def collecting(exporter: SpanExporter, *, record_content: bool = False) -> RecordedSpans:
    """Spans handed to `exporter` as each ends: give an in-memory exporter to read them in a test."""
    provider = _provider("test", "test")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return RecordedSpans(provider, record_content=record_content)


def _provider(service: str, instance: str) -> TracerProvider:
    resource = Resource({"service.name": f"astromesh-{service}", "service.instance.id": instance})
    return TracerProvider(resource=resource, shutdown_on_exit=False)


def _under(header: str) -> Context:
    """The SDK's context for a parent that we know by its `traceparent`; an empty one starts a trace."""
    parent = parse(header)
    if parent is None:
        return set_span_in_context(NonRecordingSpan(SpanContext(0, 0, is_remote=False)))
    context = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT),
    )
    return set_span_in_context(NonRecordingSpan(context))
