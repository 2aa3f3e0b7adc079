"""The trace that a run stands in: it starts at the gateway, and the log carries it on."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from astromesh_core.bus.connection import Bus
from astromesh_core.telemetry.otel import collecting
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.telemetry.traceparent import parse
from astromesh_testing.nats import NatsServer

from .conftest import Mesh, mesh_on

CALLERS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ASK = {"query": "x"}
CHAT = {"model": "agent", "messages": [{"role": "user", "content": "x"}]}


def _is_complete(spans: tuple[ReadableSpan, ...]) -> bool:
    """Whether every parent is among the spans, so that a collector shows one tree."""
    known = {span.context.span_id for span in spans if span.context is not None}
    return all(span.parent is None or span.parent.span_id in known for span in spans)


@pytest.mark.parametrize(
    ("path", "body", "accept"),
    [
        ("/v1/agents/agent/run", ASK, "application/json"),
        ("/v1/agents/agent/run", ASK, "text/event-stream"),
        ("/v1/agents/agent/runs", ASK, "application/json"),
        ("/v1/chat/completions", CHAT, "application/json"),
    ],
)
async def test_a_run_hangs_on_a_recorded_span_whichever_way_it_was_asked(
    nats: NatsServer, bus: Bus, tmp_path: Path, path: str, body: dict[str, object], accept: str
) -> None:
    exporter = InMemorySpanExporter()
    async with mesh_on(nats, bus, tmp_path, Telemetry(collecting(exporter))) as mesh:
        response = await mesh.client.post(path, json=body, headers={"Accept": accept})
        assert response.status_code < 300, response.text
        trace = await _trace_of_run(mesh)
    spans = exporter.get_finished_spans()
    admitted = next(span for span in spans if span.name == "admit agent")
    assert admitted.context is not None
    assert trace == (f"{admitted.context.trace_id:032x}", f"{admitted.context.span_id:016x}")
    assert _is_complete(spans)


async def test_a_callers_trace_goes_on_with_and_without_a_collector(nats: NatsServer, bus: Bus, tmp_path: Path) -> None:
    wanted = parse(CALLERS)
    assert wanted is not None
    for telemetry in (Telemetry(), Telemetry(collecting(InMemorySpanExporter()))):
        async with mesh_on(nats, bus, tmp_path, telemetry) as mesh:
            await mesh.client.post("/v1/agents/agent/run", json=ASK, headers={"traceparent": CALLERS})
            assert (await _trace_of_run(mesh))[0] == wanted.trace_id


async def _trace_of_run(mesh: Mesh) -> tuple[str, str]:
    run = await mesh.runtime.next_run()
    stored = await mesh.bus.log.read(run.aggregate)
    found = parse(stored.events[0].envelope.traceparent)
    assert found is not None, "every run stands in a trace"
    return found.trace_id, found.span_id
