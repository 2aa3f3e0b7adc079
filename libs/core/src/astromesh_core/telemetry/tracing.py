"""Spans: what a service opens around its work. Where nothing collects them, a span costs a context variable and
keeps the trace's ids travelling; the OpenTelemetry SDK is imported (in `otel`) only where an endpoint or an exporter
is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, Self

from astromesh_core.telemetry.traceparent import current_traceparent, enter_trace, leave_trace, new_trace, parse

AttributeValue = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, AttributeValue]
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]


class Span(Protocol):
    """An open span."""

    @property
    def traceparent(self) -> str:
        """What a child of this span, here or in another process, names as its parent."""
        ...

    def set(self, name: str, value: AttributeValue) -> None:
        """Adds an attribute. Content (`gen_ai.CONTENT`) is dropped unless recording it is switched on."""
        ...

    def fail(self, error_class: str) -> None:
        """Marks the span as failed with an error's public code."""
        ...


class Spans(Protocol):
    """Opens spans."""

    @property
    def recording(self) -> bool:
        """False where spans go nowhere: a hot path may then skip opening them."""
        ...

    def span(
        self, name: str, *, kind: SpanKind = "internal", attributes: Attributes | None = None, parent: str = ""
    ) -> AbstractContextManager[Span]:
        """A span around the block: child of `parent`, else of the running task's trace, else the start of a new trace.

        An exception that leaves the block marks the span as failed.
        """
        ...

    def close(self) -> None:
        """Sends what is left. Blocks for as long as the exporter takes."""
        ...


class _UnrecordedSpan:
    """A span that nobody collects: only its ids travel."""

    __slots__ = ("_token", "traceparent")

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def set(self, name: str, value: AttributeValue) -> None:
        """Nobody collects it."""

    def fail(self, error_class: str) -> None:
        """Nobody collects it."""

    def __enter__(self) -> Self:
        self._token = enter_trace(self.traceparent)
        return self

    def __exit__(self, *_: object) -> None:
        leave_trace(self._token)


class UnrecordedSpans:
    """Keeps the trace's ids travelling and records nothing."""

    recording = False

    def span(
        self, name: str, *, kind: SpanKind = "internal", attributes: Attributes | None = None, parent: str = ""
    ) -> _UnrecordedSpan:
        del name, kind, attributes
        return _UnrecordedSpan(parent if parse(parent) else current_traceparent() or new_trace().encode())

    def close(self) -> None:
        """Nothing is left to send."""
