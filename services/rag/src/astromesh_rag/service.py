"""The rpcs of rag: finds the pipeline, fetches contents, translates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Protocol

from astromesh.v1 import rag_pb2
from astromesh.v1.rag_pb2 import IngestRequest, IngestResponse, IngestSummary, QueryRequest, QueryResponse
from astromesh.v1.rag_pb2_grpc import RagServiceServicer
from astromesh.v1.values_pb2 import Content
from astromesh_core.errors import AstromeshError, InvalidInput
from astromesh_core.events.contents import plain
from astromesh_core.events.identity import check_namespace
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_rag.documents import Document, Listing, given
from astromesh_rag.pipelines import Declared, Pipelines
from astromesh_rag.upkeep import Upkeep

_log = logger(__name__)


class Values(Protocol):
    """Fetches contents that were moved to the object store."""

    async def resolve(self, content: Content) -> Content:
        """The content itself."""
        ...


class RagService(RagServiceServicer):
    """Ingests documents into pipelines and retrieves passages."""

    def __init__(self, pipelines: Pipelines, upkeep: Upkeep, values: Values, telemetry: Telemetry) -> None:
        self._pipelines = pipelines
        self._upkeep = upkeep
        self._values = values
        self._telemetry = telemetry

    async def Query(self, request: QueryRequest, context: ServicerContext) -> QueryResponse:
        """The passages nearest to the query, best first. Raises NotFound, NotSupported, InvalidInput."""
        declared = await self._pipelines.get(check_namespace(request.namespace), request.pipeline)
        assert declared.pipeline is not None
        text = plain(await self._values.resolve(request.query))
        metrics, begun = self._telemetry.metrics, perf_counter()
        with self._telemetry.span(f"retrieve {request.pipeline}"):
            passages = await declared.pipeline.query(text, request.top_k)
        metrics.retrieval_seconds.labels(metrics.pipeline(request.pipeline)).observe(perf_counter() - begun)
        return QueryResponse(passages=passages)

    async def Ingest(self, request: IngestRequest, context: ServicerContext) -> AsyncGenerator[IngestResponse, None]:
        """Takes in the documents given, or what the declared sources hold; the summary comes last."""
        declared = await self._pipelines.get(check_namespace(request.namespace), request.pipeline)
        assert declared.pipeline is not None
        assert declared.spec is not None
        if request.documents:
            listing = Listing(await self._given(request.documents))
        elif declared.spec.ingestion.sources:
            listing = await asyncio.to_thread(self._upkeep.listing, declared, declared.spec)
        else:
            raise InvalidInput(f"pipeline {request.pipeline} declares no sources; send documents")
        async with aclosing(declared.pipeline.ingest(listing)) as parts:
            async for part in parts:
                if part.HasField("summary"):
                    await self._observe(declared, part.summary, listing)
                yield part

    async def ListPipelines(
        self, request: rag_pb2.ListPipelinesRequest, context: ServicerContext
    ) -> rag_pb2.ListPipelinesResponse:
        """Every pipeline of the namespace by name; one that is not served holds nothing."""
        declared = self._pipelines.of(check_namespace(request.namespace))
        return rag_pb2.ListPipelinesResponse(pipelines=[await _state(each) for each in declared])

    async def _given(self, documents: Sequence[rag_pb2.Document]) -> list[Document]:
        found: dict[str, Document] = {}
        for sent in documents:
            if sent.source in found:
                raise InvalidInput(f"the source {sent.source[:80]!r} is given twice")
            found[sent.source] = given(sent.source, plain(await self._values.resolve(sent.text)))
        return list(found.values())

    async def _observe(self, declared: Declared, summary: IngestSummary, listing: Listing) -> None:
        await self._upkeep.observe(declared, summary if listing.replaces_files else None)


async def _state(declared: Declared) -> rag_pb2.PipelineState:
    state = rag_pb2.PipelineState(name=declared.ref.name)
    if declared.spec is not None:
        state.store = declared.spec.vector_store.backend
        state.embedding_model = declared.spec.embeddings.model
    if declared.pipeline is None:
        return state
    try:
        figures = await declared.pipeline.figures()
    except AstromeshError as error:
        # One that cannot be read keeps nobody from the list of the others; its conditions say what is wrong.
        _log.warning("a pipeline cannot be looked into", pipeline=declared.ref.name, reason=error.message)
        return state
    state.documents, state.chunks = figures.documents, figures.chunks
    state.last_ingested_unix_nano = figures.last_ingested_unix_nano
    return state
