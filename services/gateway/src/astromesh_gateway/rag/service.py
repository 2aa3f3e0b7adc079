"""The public gRPC RagService: pipelines as the HTTP surface has them, in the caller's namespace. Translation only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from astromesh.v1 import rag_pb2
from astromesh.v1.rag_pb2_grpc import RagServiceServicer
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import iter_contents
from astromesh_core.rpc.identity import current_caller
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.rpc.streams import reading
from astromesh_gateway.auth import Role, require
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.routes.rag import INGEST_SECONDS, QUERY_SECONDS

if TYPE_CHECKING:
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub


class RagServicer(RagServiceServicer):
    """Forwards to the rag service what the caller's role allows. The namespace that a request names is not heeded."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Query(self, request: rag_pb2.QueryRequest, context: ServicerContext) -> rag_pb2.QueryResponse:
        """The passages nearest to the query. Raises InvalidInput for one that is not sent as text."""
        request.namespace = _namespace("viewer")
        _check_contents(request)
        return await self._rag.Query(request, timeout=QUERY_SECONDS)

    async def Ingest(
        self, request: rag_pb2.IngestRequest, context: ServicerContext
    ) -> AsyncIterator[rag_pb2.IngestResponse]:
        """Progress as it goes, the summary last. It ends when the caller leaves.

        Raises InvalidInput for documents that are not sent as text or as files.
        """
        request.namespace = _namespace("admin")
        _check_contents(request)
        async with reading(self._rag.Ingest(request, timeout=INGEST_SECONDS)) as parts:
            async for part in parts:
                yield part

    async def ListPipelines(
        self, request: rag_pb2.ListPipelinesRequest, context: ServicerContext
    ) -> rag_pb2.ListPipelinesResponse:
        """The pipelines of the caller's namespace."""
        request.namespace = _namespace("viewer")
        return await self._rag.ListPipelines(request)

    async def ListDocuments(
        self, request: rag_pb2.ListDocumentsRequest, context: ServicerContext
    ) -> rag_pb2.ListDocumentsResponse:
        """What a pipeline holds."""
        request.namespace = _namespace("viewer")
        return await self._rag.ListDocuments(request)

    async def ListIngestions(
        self, request: rag_pb2.ListIngestionsRequest, context: ServicerContext
    ) -> rag_pb2.ListIngestionsResponse:
        """A pipeline's ingestions, newest first."""
        request.namespace = _namespace("viewer")
        return await self._rag.ListIngestions(request)

    async def GetIngestion(
        self, request: rag_pb2.GetIngestionRequest, context: ServicerContext
    ) -> rag_pb2.GetIngestionResponse:
        """One ingestion, with the documents that it changed."""
        request.namespace = _namespace("viewer")
        return await self._rag.GetIngestion(request)

    async def CancelIngestion(
        self, request: rag_pb2.CancelIngestionRequest, context: ServicerContext
    ) -> rag_pb2.CancelIngestionResponse:
        """Has an ingestion end; what it took in stays."""
        request.namespace = _namespace("admin")
        return await self._rag.CancelIngestion(request)

    @property
    def _rag(self) -> RagServiceAsyncStub:
        return self._gateway.services.rag


def _check_contents(request: rag_pb2.QueryRequest | rag_pb2.IngestRequest) -> None:
    """Raises InvalidInput for a reference: what lies in the object store may be another namespace's."""
    if any(content.WhichOneof("form") not in (None, "text") for content in iter_contents(request)):
        raise InvalidInput("contents are sent as text, and not by a reference to what is stored")


def _namespace(role: Role) -> str:
    caller = current_caller()
    require(caller, role)
    return caller.namespace
