"""The rag service over resources on a real bus, with a fake embedder, in both placements."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import astromesh_rag.pipelines
from astromesh.v1.control_pb2 import (
    CONDITION_STATUS_FALSE,
    CONDITION_STATUS_TRUE,
    MANAGED_BY_API,
    MANAGED_BY_FILE,
)
from astromesh.v1.rag_pb2 import Document, IngestRequest, ListPipelinesRequest
from astromesh.v1.values_pb2 import Content
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import InvalidInput, NotFound, NotSupported, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_core.resources.features import Unsupported
from astromesh_core.resources.resource import Resource
from astromesh_testing.contracts.placement import Placement
from astromesh_vectors.faiss_store.store import SIDECAR_FILE

from .served import SOURCES, ask, declare, ingest, served, until

if TYPE_CHECKING:
    pass


async def test_declared_sources_are_taken_in_by_themselves(placement: Placement, bus: Bus, config: Path) -> None:
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        assert {kind: told.status for kind, told in rag.told.conditions["docs"].items()} == dict.fromkeys(
            ("StoreConnected", "EmbeddingModelLoaded", "IngestionComplete", "IndexHealthy"), CONDITION_STATUS_TRUE
        )
        assert rag.told.figures["docs"]["documents"] == 2
        assert (await rag.stub.Query(ask("the tallest tower", top_k=1))).passages[0].source == "deep/towers.md"
        (state,) = (await rag.stub.ListPipelines(ListPipelinesRequest(namespace="default"))).pipelines
        assert (state.name, state.store, state.embedding_model, state.documents) == (
            "docs",
            "faiss",
            "all-MiniLM-L6-v2",
            2,
        )
        assert state.chunks == rag.told.figures["docs"]["chunks"]
        assert state.last_ingested_unix_nano > 0


async def test_documents_of_a_request_are_found(placement: Placement, bus: Bus, config: Path) -> None:
    async with served(placement, bus, config) as rag:
        await declare(bus)
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_TRUE)
        large = await bus.values.put(text_content("Storks build nests. " * 50).SerializeToString())
        request = IngestRequest(namespace="default", pipeline="docs")
        request.documents.append(Document(source="birds.txt", text=Content(stored=large)))
        parts = [part async for part in rag.stub.Ingest(request)]
        assert parts[0].progress.documents_total == 1
        assert parts[-1].summary.added == 1
        assert (await rag.stub.Query(ask("storks"))).passages[0].source == "birds.txt"
        assert len(rag.told.conditions["docs"]) == 4
        assert rag.told.figures["docs"]["documents"] == 1
        with pytest.raises(InvalidInput, match="declares no sources"):
            await ingest(rag.stub)
        with pytest.raises(InvalidInput, match="twice"):
            await ingest(rag.stub, ("a", "x"), ("a", "y"))


async def test_an_unknown_pipeline_is_answered_with_those_that_there_are(
    placement: Placement, bus: Bus, config: Path
) -> None:
    await declare(bus, "docs")
    await declare(bus, "manuals")
    await declare(bus, "secret", namespace="theirs")
    async with served(placement, bus, config) as rag:
        await until(lambda: len(rag.pipelines.of("default")) == 2)
        with pytest.raises(NotFound, match=r"there are: docs, manuals$"):
            await rag.stub.Query(ask("x", "dosc"))
        with pytest.raises(NotFound, match="there are: none"):
            await rag.stub.Query(ask("x", "secret", "ours"))
        with pytest.raises(InvalidInput, match="empty"):
            await rag.stub.Query(ask(" "))


async def test_what_is_not_built_or_cannot_be_is_refused_with_the_reason(
    placement: Placement, bus: Bus, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(resource: Resource) -> list[Unsupported]:
        return [Unsupported("spec.later", "is not built yet")] * (resource.name == "later")

    monkeypatch.setattr(astromesh_rag.pipelines, "unsupported", missing)
    await declare(bus, "later")
    await declare(bus, "wrong", {"vector_store": {"dimensions": 384}})
    async with served(placement, bus, config) as rag:
        await until(lambda: len(rag.pipelines.of("default")) == 2)
        with pytest.raises(NotSupported, match="later: is not built yet"):
            await rag.stub.Query(ask("x", "later"))
        with pytest.raises(InvalidInput, match=r"vector_store.dimensions is 384, but words makes vectors of 64"):
            await rag.stub.Query(ask("x", "wrong"))
        states = (await rag.stub.ListPipelines(ListPipelinesRequest(namespace="default"))).pipelines
        assert [state.name for state in states] == ["later", "wrong"]


async def test_a_change_ingests_anew_and_drops_no_query(placement: Placement, bus: Bus, config: Path) -> None:
    await declare(bus, "docs", SOURCES)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.figures.get("docs", {}).get("documents") == 2)
        stop = asyncio.Event()

        async def keep_asking() -> int:
            count = 0
            while not stop.is_set():
                assert (await rag.stub.Query(ask("Basel"))).passages
                count += 1
            return count

        asking = asyncio.create_task(keep_asking())
        embedded = len(rag.embedder.embedded)
        await declare(bus, "docs", SOURCES, {"chunking": {"chunk_size": 30, "overlap": 5}})
        chunks = rag.told.figures["docs"]["chunks"]
        await until(lambda: rag.told.figures["docs"]["chunks"] != chunks)
        stop.set()
        assert await asking > 0
        assert len(rag.embedder.embedded) > embedded


async def test_a_change_cuts_anew_what_requests_brought(placement: Placement, bus: Bus, config: Path) -> None:
    await declare(bus, "docs")
    async with served(placement, bus, config) as rag:
        await until(lambda: bool(rag.pipelines.of("default")))
        await ingest(rag.stub, ("note", "Owls hunt at night. Storks build nests."))
        await declare(bus, "docs", {"chunking": {"strategy": "sentence", "chunk_size": 25, "overlap": 0}})
        await until(lambda: rag.told.figures["docs"]["chunks"] == 2)
        (hit,) = (await rag.stub.Query(ask("storks", top_k=1))).passages
        assert (hit.text.text, hit.source, hit.start) == ("Storks build nests.", "note", 20)


async def test_a_deleted_pipeline_is_served_no_more_and_keeps_its_documents(
    placement: Placement, bus: Bus, config: Path
) -> None:
    await declare(bus, "docs")
    async with served(placement, bus, config) as rag:
        await until(lambda: bool(rag.pipelines.of("default")))
        await ingest(rag.stub, ("note", "Owls hunt at night."))
        await bus.resources.delete("RAGPipeline", "default", "docs", managed_by=MANAGED_BY_FILE)
        await until(lambda: not rag.pipelines.of("default"))
        with pytest.raises(NotFound):
            await rag.stub.Query(ask("owls"))
        await declare(bus, "docs")
        await until(lambda: bool(rag.pipelines.of("default")))
        assert (await rag.stub.Query(ask("owls"))).passages[0].source == "note"


async def test_a_collection_is_apart_from_the_pipelines_other_ones(
    placement: Placement, bus: Bus, config: Path
) -> None:
    await declare(bus, "docs", {"vector_store": {"collection": "../../../up"}})
    async with served(placement, bus, config) as rag:
        await until(lambda: bool(rag.pipelines.of("default")))
        await ingest(rag.stub, ("note", "Owls hunt at night."))
        folder = config.parent / "data" / "rag" / "default" / "docs" / "collections"
        (kept,) = (config.parent / "data").rglob("*.sqlite3")
        assert kept.relative_to(folder).parts[0] == "%2E%2E%2F%2E%2E%2F%2E%2E%2Fup"


async def test_a_pipeline_from_the_api_cannot_read_outside_the_config_folder(
    placement: Placement, bus: Bus, config: Path
) -> None:
    outside: dict[str, object] = {"ingestion": {"sources": [{"type": "directory", "path": str(config.parent)}]}}
    await declare(bus, "docs", outside, managed_by=MANAGED_BY_API)
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_FALSE)
        assert "outside the config folder" in rag.told.conditions["docs"]["IngestionComplete"].message
        with pytest.raises(InvalidInput, match="outside the config folder"):
            await ingest(rag.stub)


async def test_a_damaged_store_is_told_and_keeps_no_other_from_being_served(
    placement: Placement, bus: Bus, config: Path
) -> None:
    folder = config.parent / "data" / "rag" / "default" / "docs" / "models" / "words@64"
    folder.mkdir(parents=True)
    (folder / SIDECAR_FILE).write_bytes(b"rubbish" * 1000)
    await declare(bus, "docs", SOURCES)
    await declare(bus, "other")
    async with served(placement, bus, config) as rag:
        await until(lambda: rag.told.status("docs", "IngestionComplete") == CONDITION_STATUS_FALSE)
        assert rag.told.status("docs", "IndexHealthy") == CONDITION_STATUS_FALSE
        with pytest.raises(Unavailable, match="damaged"):
            await rag.stub.Query(ask("Basel"))
        assert (await ingest(rag.stub, ("note", "Owls hunt."), pipeline="other")).added == 1
        states = (await rag.stub.ListPipelines(ListPipelinesRequest(namespace="default"))).pipelines
        assert [(state.name, state.documents) for state in states] == [("docs", 0), ("other", 1)]
