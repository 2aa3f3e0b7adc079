"""What a process records with: spans and metrics together, by its settings. Logs are the process's own (`logs`)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from astromesh_core.telemetry.metrics import Metrics
from astromesh_core.telemetry.tracing import Attributes, Span, SpanKind, Spans, UnrecordedSpans


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Given to every service. The default records metrics in a registry of its own, and no spans."""

    spans: Spans = field(default_factory=UnrecordedSpans)
    metrics: Metrics = field(default_factory=Metrics)
    record_content: bool = False

    def span(
        self, name: str, *, kind: SpanKind = "internal", attributes: Attributes | None = None, parent: str = ""
    ) -> AbstractContextManager[Span]:
        """A span around the block; see `Spans.span`."""
        return self.spans.span(name, kind=kind, attributes=attributes, parent=parent)

    def close(self) -> None:
        """Sends what is left. Blocks for as long as the exporter takes."""
        self.spans.close()


def telemetry_for(
    service: str, instance: str, *, otlp_endpoint: str = "", record_content: bool = False, names_limit: int = 200
) -> Telemetry:
    """Telemetry by settings: spans are recorded and sent where `otlp_endpoint` is set."""
    spans: Spans = UnrecordedSpans()
    if otlp_endpoint:
        # Imported here because a mesh without a collector should not pay for the SDK's start-up and memory.
        from astromesh_core.telemetry.otel import exporting

        spans = exporting(service, instance, otlp_endpoint, record_content=record_content)
    return Telemetry(spans, Metrics(names_limit=names_limit), record_content)
