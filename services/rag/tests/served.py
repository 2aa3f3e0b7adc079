"""A rag service over resources on a real bus, with a fake embedder, and what tests ask of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from astromesh.v1.control_pb2 import (
    MANAGED_BY_FILE,
    Condition,
    ManagedBy,
    ResourceRecord,
)
from astromesh.v1.rag_pb2 import Document, IngestRequest, IngestSummary, QueryRequest
from astromesh.v1.rag_pb2_grpc import RagServiceStub, add_RagServiceServicer_to_server
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.events.contents import text_content
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.user_code.modules import Modules
from astromesh_rag.ingestions import Ingestions
from astromesh_rag.pipelines import Pipelines
from astromesh_rag.service import RagService
from astromesh_rag.sources import Sources
from astromesh_rag.timetable import Timetable
from astromesh_rag.upkeep import Ingesting, Upkeep
from astromesh_testing.contracts.placement import Placement
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.minilm.tokens import MiniLMWords
from astromesh_vectors.opening import Stores

if TYPE_CHECKING:
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub

SOURCES: dict[str, object] = {"ingestion": {"sources": [{"type": "directory", "path": "knowledge"}]}}


class Told:
    """Keeps the newest observation of every pipeline."""

    def __init__(self) -> None:
        self.conditions: dict[str, dict[str, Condition]] = {}
        self.figures: dict[str, dict[str, int | float | str]] = {}

    async def tell(
        self, ref: ResourceRef, conditions: Iterable[Condition], figures: dict[str, int | float | str]
    ) -> None:
        self.conditions[ref.name] = {condition.type: condition for condition in conditions}
        self.figures[ref.name] = figures

    def status(self, name: str, kind: str) -> int:
        condition = self.conditions.get(name, {}).get(kind)
        return condition.status if condition else -1


@dataclass
class Served:
    """A service under test."""

    stub: RagServiceAsyncStub
    pipelines: Pipelines
    told: Told
    embedder: WordEmbedder


async def at_once() -> None:
    return None


class Clock:
    """A clock that is set, in Unix seconds."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def served(
    placement: Placement, bus: Bus, config: Path, now: Callable[[], float] = time.time, delay: float = 0.0
) -> AsyncGenerator[Served]:
    """A service of these resources. `now` is the clock of schedules, `delay` the time that embedding takes."""
    embedder, told = WordEmbedder(delay=delay), Told()

    async def open_embedder(spec: EmbeddingsSpec) -> WordEmbedder:
        return embedder

    modules = Modules(config.parent / "data" / "stores")
    stores = Stores(config.parent / "data", modules, {})
    pipelines = Pipelines(config.parent / "data", MiniLMWords(), open_embedder, stores.open)
    ingestions = Ingestions(bus.ingestions, f"at {config}")
    ingesting = Ingesting(ingestions, Timetable(bus.ingestions.schedules, now))
    upkeep = Upkeep(pipelines, Sources(config, pause=0.0), ingesting, told, at_once())
    service = RagService(pipelines, upkeep, ingestions, bus.values, Telemetry())

    def register(server: RpcServer) -> None:
        add_RagServiceServicer_to_server(service, server)

    following = asyncio.create_task(upkeep.follow(bus.resources.watch()))
    async with placement(register) as channel:
        yield Served(RagServiceStub(channel), pipelines, told, embedder)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await upkeep.close()
    await pipelines.close()
    modules.close()


async def declare(
    bus: Bus,
    name: str = "docs",
    *parts: dict[str, object],
    managed_by: ManagedBy.ValueType = MANAGED_BY_FILE,
    namespace: str = "default",
) -> None:
    """Declares a pipeline as the operator does."""
    raw: dict[str, object] = {}
    for part in parts:
        raw |= part
    record = ResourceRecord(
        ref=ResourceRef(kind="RAGPipeline", namespace=namespace, name=name),
        managed_by=managed_by,
        spec_json=RAGPipelineSpec.model_validate_json(orjson.dumps(raw)).to_json(),
    )
    await bus.resources.put(record)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the service, which tells nobody
            await asyncio.sleep(0.01)


def ask(query: str, pipeline: str = "docs", namespace: str = "default", top_k: int = 0) -> QueryRequest:
    return QueryRequest(namespace=namespace, pipeline=pipeline, query=text_content(query), top_k=top_k)


async def ingest(stub: RagServiceAsyncStub, *documents: tuple[str, str], pipeline: str = "docs") -> IngestSummary:
    request = IngestRequest(namespace="default", pipeline=pipeline)
    for source, text in documents:
        request.documents.append(Document(source=source, text=text_content(text)))
    parts = [part async for part in stub.Ingest(request)]
    return parts[-1].summary
