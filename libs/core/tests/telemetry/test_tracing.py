"""Traces: ids that travel with or without a collector, and spans without content."""

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh_core.errors import Unavailable
from astromesh_core.rpc.gates import open_gate
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.rpc.remote import RemoteChannel
from astromesh_core.rpc.serving import serve
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.otel import collecting
from astromesh_core.telemetry.telemetry import Telemetry, telemetry_for
from astromesh_core.telemetry.traceparent import (
    TraceContext,
    current_traceparent,
    enter_trace,
    new_trace,
    parse,
    unrecorded,
)
from astromesh_core.telemetry.tracing import UnrecordedSpans
from astromesh_testing.contracts.placement import ScriptedRouter, named

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_reads_the_example_of_the_recommendation() -> None:
    assert parse(HEADER) == TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)
    assert parse("cc" + HEADER[2:] + "-what-the-future-brings") == parse(HEADER)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "ff" + HEADER[2:],
        HEADER + "-more",
        HEADER.upper(),
        HEADER[:-1],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    ],
)
def test_takes_a_malformed_header_for_none(header: str) -> None:
    assert parse(header) is None


@given(st.text())
def test_no_text_breaks_the_reading(header: str) -> None:
    parse(header)


@given(st.booleans())
def test_what_is_written_is_read(sampled: bool) -> None:
    context = new_trace()._replace(sampled=sampled)
    assert parse(context.encode()) == context


def test_without_a_collector_the_ids_travel_and_the_sdk_is_not_imported() -> None:
    code = (
        "import sys; from astromesh_core.telemetry.telemetry import telemetry_for\n"
        "with telemetry_for('runtime', 'i').span('run') as span: assert span.traceparent\n"
        "sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unrecorded_span_joins_its_parent_or_starts_a_trace() -> None:
    spans = UnrecordedSpans()
    with spans.span("run", parent=HEADER) as span:
        assert span.traceparent == current_traceparent() == HEADER
        with spans.span("model") as inner:
            assert inner.traceparent == HEADER
    assert current_traceparent() == ""
    with spans.span("run", parent="rubbish") as span:
        assert parse(span.traceparent) is not None


def test_spans_form_one_trace_under_the_parent_they_were_given() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(collecting(exporter))
    with telemetry.span("run", parent=HEADER, attributes={gen_ai.RUN_ID: "07-a"}), telemetry.span("model") as inner:
        inner.set(gen_ai.REQUEST_MODEL, "small-1")
    model, run = exporter.get_finished_spans()
    assert run.context is not None
    assert f"{run.context.trace_id:032x}" == parse(HEADER).trace_id  # pyright: ignore[reportOptionalMemberAccess] - HEADER is well formed
    assert model.parent is not None
    assert model.parent.span_id == run.context.span_id
    assert dict(model.attributes or {}) == {gen_ai.REQUEST_MODEL: "small-1"}


def test_content_is_recorded_only_where_switched_on() -> None:
    for record_content in (False, True):
        exporter = InMemorySpanExporter()
        with collecting(exporter, record_content=record_content).span("chat") as span:
            span.set(gen_ai.INPUT_MESSAGES, "the customer's words")
        (finished,) = exporter.get_finished_spans()
        assert (gen_ai.INPUT_MESSAGES in (finished.attributes or {})) is record_content


async def test_a_failed_span_names_the_class_and_never_the_words() -> None:
    exporter = InMemorySpanExporter()
    spans = collecting(exporter)
    for error in (Unavailable("the customer's words"), KeyError("the customer's words"), asyncio.CancelledError()):
        with pytest.raises(type(error)), spans.span("chat"):
            raise error
    finished = exporter.get_finished_spans()
    assert [(span.attributes or {})[gen_ai.ERROR_TYPE] for span in finished] == ["unavailable", "bug", "cancelled"]
    assert "customer" not in "".join(span.to_json() for span in finished)


async def test_calls_between_services_join_one_trace_in_both_placements() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(collecting(exporter))

    async def answer(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
        return named("ok")

    def register(server: RpcServer) -> None:
        router_pb2_grpc.add_RouterServiceServicer_to_server(ScriptedRouter(unary=answer), server)

    local = InProcessServer(telemetry)
    local.install(register)
    async with serve([register], "127.0.0.1:0", open_gate, telemetry, drain_seconds=0) as server:
        remote = RemoteChannel(server.address, "")
        with telemetry.span("run", parent=HEADER):
            for channel in (local.channel(), remote.stub_channel()):
                await router_pb2_grpc.RouterServiceStub(channel).CheckProviders(router_pb2.CheckProvidersRequest())
        await remote.close()
    first, second, run = exporter.get_finished_spans()
    assert first.name == second.name == "/astromesh.v1.RouterService/CheckProviders"
    assert run.context is not None
    assert {span.parent.span_id for span in (first, second) if span.parent} == {run.context.span_id}


async def test_work_that_is_not_to_be_recorded_leaves_no_spans_wherever_it_is_done() -> None:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(collecting(exporter))

    async def answer(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
        with telemetry.span("inner"):
            return named("ok")

    def register(server: RpcServer) -> None:
        router_pb2_grpc.add_RouterServiceServicer_to_server(ScriptedRouter(unary=answer), server)

    async def poll() -> None:
        enter_trace(unrecorded())
        for channel in (local.channel(), remote.stub_channel()):
            await router_pb2_grpc.RouterServiceStub(channel).CheckProviders(router_pb2.CheckProvidersRequest())

    local = InProcessServer(telemetry)
    local.install(register)
    async with serve([register], "127.0.0.1:0", open_gate, telemetry, drain_seconds=0) as server:
        remote = RemoteChannel(server.address, "")
        await asyncio.create_task(poll())
        await remote.close()
    assert exporter.get_finished_spans() == ()


def test_a_collector_that_is_away_harms_nobody() -> None:
    telemetry = telemetry_for("runtime", "i", otlp_endpoint="http://127.0.0.1:1")
    with telemetry.span("run") as span:
        assert parse(span.traceparent) is not None
