"""The service as it is launched: its own credentials on a real bus, the real model, documents in a config folder."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from astromesh.v1.control_pb2 import MANAGED_BY_FILE, ResourceRecord
from astromesh.v1.rag_pb2 import ListPipelinesRequest, QueryRequest
from astromesh.v1.rag_pb2_grpc import RagServiceStub
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.events.contents import text_content
from astromesh_core.launcher import compose
from astromesh_core.resources.rag_pipeline import DirectorySource, Ingestion, RAGPipelineSpec
from astromesh_core.rpc.ports import Registrar
from astromesh_core.service import Platform
from astromesh_core.settings import load_settings
from astromesh_core.telemetry.otel import collecting
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_native.choice import CHOICE
from astromesh_rag import app
from astromesh_testing.nats import NatsServer

if TYPE_CHECKING:
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub


async def documents(stub: RagServiceAsyncStub) -> int:
    found = await stub.ListPipelines(ListPipelinesRequest(namespace="default"))
    return found.pipelines[0].documents


async def test_answers_from_the_declared_folder_and_starts_again_without_the_model(
    nats: NatsServer, bus: Bus, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "START_SECONDS", 0.0)
    spec = RAGPipelineSpec(ingestion=Ingestion(sources=(DirectorySource(type="directory", path="knowledge"),)))
    ref = ResourceRef(kind="RAGPipeline", namespace="default", name="docs")
    await bus.resources.put(ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=spec.to_json()))
    given: dict[str, object] = {
        "config_dir": config,
        "data_dir": tmp_path / "data",
        "nats_url": nats.url,
        "nats_credentials": credentials_path(nats.credentials_folder, "rag"),
    }
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(collecting(exporter))

    def traced(platform: Platform) -> AbstractAsyncContextManager[Registrar]:
        return app.open_service(replace(platform, telemetry=telemetry))

    for _ in range(2):
        async with compose({"rag": traced}, load_settings(given)) as mesh:
            stub = RagServiceStub(mesh.platform.connections.channel("rag"))
            async with asyncio.timeout(20):
                while not await documents(stub):  # noqa: ASYNC110 - a service tells nobody when it is done
                    await asyncio.sleep(0.05)
            observation = await bus.nc.ask("$JS.API.DIRECT.GET.OBSERVATIONS.observation.rag.RAGPipeline.default.docs")
            assert b"IngestionComplete" in observation.data
            query = text_content("Which building is the highest?")
            request = QueryRequest(namespace="default", pipeline="docs", query=query)
            assert (await stub.Query(request)).passages[0].source == "deep/towers.md"
    cut = [span for span in exporter.get_finished_spans() if span.name == "chunk document"]
    assert [dict(span.attributes or {}) for span in cut] == [{"astromesh.native": CHOICE.name}] * 2
