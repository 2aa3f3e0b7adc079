"""The rpcs of rag: finds the pipeline, fetches contents, translates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from time import perf_counter
from typing import Protocol

from astromesh.v1 import rag_pb2
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.ingestion_events_pb2 import INGESTION_CAUSE_ASKED, INGESTION_CAUSE_GIVEN
from astromesh.v1.rag_pb2 import IngestRequest, IngestResponse, QueryRequest, QueryResponse
from astromesh.v1.rag_pb2_grpc import RagServiceServicer
from astromesh.v1.values_pb2 import Content
from astromesh_core.errors import AstromeshError, InvalidInput, NotFound
from astromesh_core.events.contents import plain
from astromesh_core.events.identity import check_namespace
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.written_filters import read_filter
from astromesh_rag.documents import GIVEN_PREFIX, Document, Listing
from astromesh_rag.given import given_file, given_text, read_metadata
from astromesh_rag.ingestion_records import changes_of, held_document, ingestion_of
from astromesh_rag.ingestions import Ingestions, Wanted
from astromesh_rag.pipelines import Declared, Pipelines
from astromesh_rag.upkeep import Upkeep

DOCUMENTS_PAGE = 100
LARGEST_DOCUMENTS_PAGE = 1_000
PAGE_SIZE = 20
LARGEST_PAGE = 100

CANCEL_SECONDS = 8.0
"""How long an answer waits for the end of an ingestion: whoever runs it looks every other second."""

_log = logger(__name__)


class Values(Protocol):
    """Fetches contents that were moved to the object store."""

    async def resolve(self, content: Content) -> Content:
        """The content itself."""
        ...


class RagService(RagServiceServicer):
    """Ingests documents into pipelines and retrieves passages."""

    def __init__(
        self, pipelines: Pipelines, upkeep: Upkeep, ingestions: Ingestions, values: Values, telemetry: Telemetry
    ) -> None:
        self._pipelines = pipelines
        self._upkeep = upkeep
        self._ingestions = ingestions
        self._log = ingestions.store
        self._values = values
        self._telemetry = telemetry

    async def Query(self, request: QueryRequest, context: ServicerContext) -> QueryResponse:
        """The passages nearest to the query, best first. Raises NotFound, NotSupported, InvalidInput."""
        declared = await self._pipelines.get(check_namespace(request.namespace), request.pipeline)
        assert declared.pipeline is not None
        where = read_filter(request.filter_json)
        text = plain(await self._values.resolve(request.query))
        metrics, begun = self._telemetry.metrics, perf_counter()
        with self._telemetry.span(f"retrieve {request.pipeline}"):
            passages = await declared.query(text, request.top_k, where)
        metrics.retrieval_seconds.labels(metrics.pipeline(request.pipeline)).observe(perf_counter() - begun)
        return QueryResponse(passages=passages)

    async def Ingest(self, request: IngestRequest, context: ServicerContext) -> AsyncGenerator[IngestResponse, None]:
        """Takes in the documents given, or what the declared sources hold; the summary comes last."""
        declared = await self._pipelines.get(check_namespace(request.namespace), request.pipeline)
        wanted = await self._wanted(request, declared)
        of_sources = wanted.cause == INGESTION_CAUSE_ASKED
        try:
            async with aclosing(self._ingestions.run(wanted)) as parts:
                async for part in parts:
                    if part.HasField("summary"):
                        await self._upkeep.observe(declared, part.summary if of_sources else None)
                    yield part
        except AstromeshError as error:
            await self._upkeep.observe(declared, error if of_sources else None)
            raise

    async def ListDocuments(
        self, request: rag_pb2.ListDocumentsRequest, context: ServicerContext
    ) -> rag_pb2.ListDocumentsResponse:
        """The documents that a pipeline holds, by id. Raises NotFound, InvalidInput, Unavailable."""
        declared = await self._pipelines.get(check_namespace(request.namespace), request.pipeline)
        assert declared.pipeline is not None
        size = request.page_size or DOCUMENTS_PAGE
        if not 1 <= size <= LARGEST_DOCUMENTS_PAGE:
            raise InvalidInput(f"page_size is {size}; it must be from 1 to {LARGEST_DOCUMENTS_PAGE}")
        stored = await declared.pipeline.store.documents()
        after = sorted(document for document in stored if document > request.page_token)
        return rag_pb2.ListDocumentsResponse(
            documents=[held_document(document) for document in after[:size]],
            next_page_token=after[size - 1] if len(after) > size else "",
        )

    async def ListIngestions(
        self, request: rag_pb2.ListIngestionsRequest, context: ServicerContext
    ) -> rag_pb2.ListIngestionsResponse:
        """A pipeline's ingestions, newest first. Raises NotFound, InvalidInput."""
        namespace, size = self._known(request.namespace, request.pipeline), request.page_size or PAGE_SIZE
        if not 1 <= size <= LARGEST_PAGE:
            raise InvalidInput(f"page_size is {size}; it must be from 1 to {LARGEST_PAGE}")
        found = await self._log.page(namespace, request.pipeline, size + 1, request.page_token)
        running = await self._running(namespace, request.pipeline)
        return rag_pb2.ListIngestionsResponse(
            ingestions=[ingestion_of(one.id, one.last, running) for one in found[:size]],
            next_page_token=found[size - 1].id if len(found) > size else "",
        )

    async def GetIngestion(
        self, request: rag_pb2.GetIngestionRequest, context: ServicerContext
    ) -> rag_pb2.GetIngestionResponse:
        """One ingestion, with the documents that it changed. Raises NotFound."""
        namespace = self._known(request.namespace, request.pipeline)
        events = await self._events(namespace, request.pipeline, request.ingestion_id)
        running = await self._running(namespace, request.pipeline)
        found = ingestion_of(request.ingestion_id, events[-1], running)
        return rag_pb2.GetIngestionResponse(ingestion=found, changes=changes_of(events))

    async def CancelIngestion(
        self, request: rag_pb2.CancelIngestionRequest, context: ServicerContext
    ) -> rag_pb2.CancelIngestionResponse:
        """Has an ingestion end; answers once it has, or after some seconds. Raises NotFound, Conflict."""
        namespace = self._known(request.namespace, request.pipeline)
        reason = request.reason or "somebody asked for it"
        await self._ingestions.cancel(namespace, request.pipeline, request.ingestion_id, reason)
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                while await self._running(namespace, request.pipeline) == request.ingestion_id:  # noqa: ASYNC110 - it may be another process
                    await asyncio.sleep(0.1)
        events = await self._events(namespace, request.pipeline, request.ingestion_id)
        running = await self._running(namespace, request.pipeline)
        return rag_pb2.CancelIngestionResponse(ingestion=ingestion_of(request.ingestion_id, events[-1], running))

    async def ListPipelines(
        self, request: rag_pb2.ListPipelinesRequest, context: ServicerContext
    ) -> rag_pb2.ListPipelinesResponse:
        """Every pipeline of the namespace by name; one that is not served holds nothing."""
        declared = self._pipelines.of(check_namespace(request.namespace))
        return rag_pb2.ListPipelinesResponse(pipelines=[await self._state(each) for each in declared])

    async def _wanted(self, request: IngestRequest, declared: Declared) -> Wanted:
        assert declared.pipeline is not None
        assert declared.spec is not None
        if not request.documents and not request.removed:
            if not declared.spec.ingestion.sources:
                raise InvalidInput(f"pipeline {request.pipeline} declares no sources; send documents")
            return self._upkeep.wanted(declared, INGESTION_CAUSE_ASKED)
        documents = await self._given(request.documents)
        removals = [GIVEN_PREFIX + source for source in dict.fromkeys(request.removed)]
        both = [document.source for document in documents if document.id in removals]
        if both:
            raise InvalidInput(f"the source {both[0][:80]!r} is given and removed at once")

        async def gather() -> Listing:
            return Listing(documents, removals=removals)

        return Wanted(declared.pipeline, INGESTION_CAUSE_GIVEN, gather)

    async def _given(self, documents: Sequence[rag_pb2.Document]) -> list[Document]:
        found: dict[str, Document] = {}
        for sent in documents:
            if sent.source in found:
                raise InvalidInput(f"the source {sent.source[:80]!r} is given twice")
            metadata = read_metadata(sent.metadata_json)
            if sent.file:
                found[sent.source] = given_file(sent.source, sent.file, sent.media_type, metadata)
            else:
                text = plain(await self._values.resolve(sent.text))
                found[sent.source] = given_text(sent.source, text, metadata)
        return list(found.values())

    def _known(self, namespace: str, pipeline: str) -> str:
        """The namespace, in which there is such a pipeline, served or not."""
        if all(declared.ref.name != pipeline for declared in self._pipelines.of(check_namespace(namespace))):
            raise NotFound(f"there is no pipeline {pipeline[:80]!r} in namespace {namespace}")
        return namespace

    async def _running(self, namespace: str, pipeline: str) -> str:
        holder = await self._log.leases.holder(namespace, pipeline)
        return holder.ingestion_id if holder is not None else ""

    async def _events(self, namespace: str, pipeline: str, ingestion: str) -> list[Envelope]:
        events = await self._log.events(namespace, pipeline, ingestion)
        if not events:
            raise NotFound(f"pipeline {pipeline} has no ingestion {ingestion[:80]!r}")
        return events

    async def _last_completed(self, namespace: str, pipeline: str) -> int:
        newest = [await self._log.newest(namespace, pipeline, given=given) for given in (False, True)]
        completed = [one for one in newest if one is not None and one.last.ingestion.HasField("completed")]
        return max((one.last.time_unix_nano for one in completed), default=0)

    async def _state(self, declared: Declared) -> rag_pb2.PipelineState:
        state = await _state(declared)
        if declared.pipeline is not None:
            # A store that replicas share may have been filled by another one.
            elsewhere = await self._last_completed(declared.ref.namespace, declared.ref.name)
            state.last_ingested_unix_nano = max(state.last_ingested_unix_nano, elsewhere)
        state.next_ingestion_unix_nano = self._upkeep.next_due(declared) * 1_000_000_000
        return state


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
