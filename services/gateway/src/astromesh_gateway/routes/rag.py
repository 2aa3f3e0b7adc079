"""/v1/rag: pipelines, what they take in, and what they find."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Literal, cast

import orjson
from fastapi import APIRouter, Query, Request, Response
from typing_extensions import TypedDict

from astromesh.v1.rag_pb2 import (
    DOCUMENT_ORIGIN_FILE,
    DOCUMENT_ORIGIN_GIVEN,
    DOCUMENT_ORIGIN_PAGE,
    Document,
    DocumentOrigin,
    IngestRequest,
    IngestResponse,
    IngestSummary,
    ListDocumentsRequest,
    ListPipelinesRequest,
    PipelineState,
    QueryRequest,
)
from astromesh_core.errors import AstromeshError, InvalidInput, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_core.rpc.streams import reading
from astromesh_gateway.access import Admin, TheGateway, Viewer
from astromesh_gateway.bodies import IngestBody, IngestDocument, RagQueryBody, left, read_question
from astromesh_gateway.documentation import errors, json_body
from astromesh_gateway.failures import problem_document
from astromesh_gateway.progress import Data, Update
from astromesh_gateway.replies import SourceReply, source_reply
from astromesh_gateway.routes import ingestions
from astromesh_gateway.shown import moment
from astromesh_gateway.sse import MEDIA_TYPE, EventStream, message

router = APIRouter(prefix="/v1/rag", tags=["rag"])
router.include_router(ingestions.router)

INGEST_SECONDS = 86_400.0
"""As long as an ingestion may take that somebody waits for."""

QUERY_SECONDS = 60.0


_ORIGINS: dict[DocumentOrigin.ValueType, Literal["file", "given", "page"]] = {
    DOCUMENT_ORIGIN_FILE: "file",
    DOCUMENT_ORIGIN_GIVEN: "given",
    DOCUMENT_ORIGIN_PAGE: "page",
}


class PipelineReply(TypedDict):
    """A pipeline and what it holds."""

    name: str
    store: str
    embedding_model: str
    documents: int
    chunks: int
    last_ingested: str | None
    next_ingestion: str | None


class PipelineList(TypedDict):
    """The pipelines of the namespace."""

    pipelines: list[PipelineReply]


class HeldReply(TypedDict):
    """A document that a pipeline holds. The source of a file begins with its folder."""

    source: str
    origin: Literal["file", "given", "page"]


class DocumentPage(TypedDict):
    """Documents by origin and source; `next_page_token` is empty on the last page."""

    documents: list[HeldReply]
    next_page_token: str


class IngestReply(TypedDict):
    """What ingesting changed. `refused` names documents that could not be read, with the reason."""

    pipeline: str
    added: int
    replaced: int
    removed: int
    unchanged: int
    chunks: int
    refused: list[str]
    ingestion_id: str


class QueryReply(TypedDict):
    """Passages, best first."""

    pipeline: str
    query: str
    results: list[SourceReply]


@router.get("/pipelines", summary="List pipelines", responses=errors(503))
async def list_pipelines(caller: Viewer, gateway: TheGateway) -> PipelineList:
    """The pipelines of the namespace."""
    response = await gateway.services.rag.ListPipelines(ListPipelinesRequest(namespace=caller.namespace))
    return PipelineList(pipelines=[_pipeline_reply(state) for state in response.pipelines])


@router.get("/pipelines/{name}/documents", summary="List documents", responses=errors(404, 422, 501, 503))
async def list_documents(
    name: str,
    caller: Viewer,
    gateway: TheGateway,
    page_size: Annotated[int, Query(ge=1, le=1_000)] = 100,
    page_token: Annotated[str, Query(max_length=4_096)] = "",
) -> DocumentPage:
    """What the pipeline holds."""
    request = ListDocumentsRequest(
        namespace=caller.namespace, pipeline=name, page_size=page_size, page_token=page_token
    )
    page = await gateway.services.rag.ListDocuments(request)
    return DocumentPage(
        documents=[HeldReply(source=one.source, origin=_ORIGINS[one.origin]) for one in page.documents],
        next_page_token=page.next_page_token,
    )


@router.post("/query", summary="Query a pipeline", responses=errors(400, 404, 422, 501, 503, 504))
async def query_pipeline(body: RagQueryBody, caller: Viewer, gateway: TheGateway) -> QueryReply:
    """The passages nearest to the question."""
    request = QueryRequest(
        namespace=caller.namespace,
        pipeline=body.pipeline,
        query=text_content(body.query),
        top_k=body.top_k,
        filter_json=orjson.dumps(body.filter).decode() if body.filter else "",
    )
    response = await gateway.services.rag.Query(request, timeout=QUERY_SECONDS)
    return QueryReply(
        pipeline=body.pipeline, query=body.query, results=[source_reply(passage) for passage in response.passages]
    )


@router.post(
    "/ingest",
    summary="Ingest documents",
    response_model=IngestReply,
    responses={
        200: {
            "content": {
                MEDIA_TYPE: {
                    "schema": {"type": "string"},
                    "example": 'event: progress\ndata: {"source":"a.md","documents_done":1,"documents_total":9}\n\n',
                }
            }
        },
        **errors(400, 404, 413, 422, 501, 503, 504),
    },
    openapi_extra=json_body(IngestBody, {"pipeline": "docs"}),
)
async def ingest(request: Request, caller: Admin, gateway: TheGateway) -> Response:
    """Takes in the documents given, else the pipeline's own; with `Accept: text/event-stream` tells progress.

    It ends when the connection does; what was taken in until then stays.
    """
    body = await read_question(request, IngestBody)
    asked = IngestRequest(
        namespace=caller.namespace,
        pipeline=body.pipeline,
        documents=[_document(place, item) for place, item in enumerate(body.documents)],
        removed=body.removed,
    )
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(reading(gateway.services.rag.Ingest(asked, timeout=INGEST_SECONDS)))
        if MEDIA_TYPE in request.headers.get("accept", ""):
            chunks = (message(update) async for update in _updates(parts, body.pipeline))
            return EventStream(chunks, stack.pop_all(), {})
        summary = await _summary(request, parts)
    if summary is None:
        return Response(status_code=499)
    return Response(orjson.dumps(_ingest_reply(body.pipeline, summary)), media_type="application/json")


async def _summary(request: Request, parts: AsyncIterator[IngestResponse]) -> IngestSummary | None:
    """What it came to; None where whoever asked left before."""
    ingesting = asyncio.create_task(_last(parts))
    leaving = asyncio.create_task(left(request))
    try:
        await asyncio.wait((ingesting, leaving), return_when=asyncio.FIRST_COMPLETED)
        return ingesting.result() if ingesting.done() else None
    finally:
        for task in (ingesting, leaving):
            task.cancel()
        await asyncio.wait((ingesting, leaving))


async def _last(parts: AsyncIterator[IngestResponse]) -> IngestSummary:
    async for part in parts:
        if part.HasField("summary"):
            return part.summary
    raise Unavailable("the ingestion ended without a summary")


async def _updates(parts: AsyncIterator[IngestResponse], pipeline: str) -> AsyncGenerator[Update, None]:
    try:
        async for part in parts:
            if part.HasField("summary"):
                yield Update("done", cast("Data", _ingest_reply(pipeline, part.summary)))
                return
            told = part.progress
            yield Update(
                "progress",
                {
                    "source": told.source,
                    "documents_done": told.documents_done,
                    "documents_total": told.documents_total,
                    "ingestion_id": told.ingestion_id,
                    "waits_for": told.waits_for,
                },
            )
    except AstromeshError as error:
        yield Update("error", problem_document(error))


def _document(place: int, item: IngestDocument) -> Document:
    document = Document(source=item.source, media_type=item.media_type)
    if item.metadata:
        document.metadata_json = orjson.dumps(item.metadata).decode()
    if not item.data:
        document.text.CopyFrom(text_content(item.text))
        return document
    try:
        document.file = binascii.a2b_base64(item.data, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"documents[{place}].data is not base64: {error}") from None
    return document


def _pipeline_reply(state: PipelineState) -> PipelineReply:
    return PipelineReply(
        name=state.name,
        store=state.store,
        embedding_model=state.embedding_model,
        documents=state.documents,
        chunks=state.chunks,
        last_ingested=moment(state.last_ingested_unix_nano) if state.last_ingested_unix_nano else None,
        next_ingestion=moment(state.next_ingestion_unix_nano) if state.next_ingestion_unix_nano else None,
    )


def _ingest_reply(pipeline: str, summary: IngestSummary) -> IngestReply:
    return IngestReply(
        pipeline=pipeline,
        added=summary.added,
        replaced=summary.replaced,
        removed=summary.removed,
        unchanged=summary.unchanged,
        chunks=summary.chunks,
        refused=list(summary.refused),
        ingestion_id=summary.ingestion_id,
    )
