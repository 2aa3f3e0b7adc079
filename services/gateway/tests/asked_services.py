"""Fakes of the services that the gateway asks: what they answer is set by the test, what they were asked is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from astromesh.v1.guardrails_pb2 import CheckTextRequest, CheckTextResponse
from astromesh.v1.guardrails_pb2_grpc import add_GuardrailsServiceServicer_to_server
from astromesh.v1.history_pb2 import (
    FindOpenRunsRequest,
    FindOpenRunsResponse,
    HistoryServiceListRunsRequest,
    HistoryServiceListRunsResponse,
    ListEventsRequest,
    ListEventsResponse,
    SumCostsRequest,
    SumCostsResponse,
)
from astromesh.v1.history_pb2_grpc import HistoryServiceServicer, add_HistoryServiceServicer_to_server
from astromesh.v1.ingestion_events_pb2 import (
    DOCUMENT_OUTCOME_REFUSED,
    INGESTION_CAUSE_SCHEDULED,
    DocumentChange,
    IngestionCounts,
)
from astromesh.v1.memory_pb2 import (
    FindUserSessionsRequest,
    FindUserSessionsResponse,
    HistoryEntry,
    ListHistoryRequest,
    ListHistoryResponse,
    RebuildMemoryRequest,
    RebuildMemoryResponse,
    RecallRelatedRequest,
    RecallRelatedResponse,
)
from astromesh.v1.memory_pb2_grpc import MemoryServiceServicer, add_MemoryServiceServicer_to_server
from astromesh.v1.rag_pb2 import (
    DOCUMENT_ORIGIN_GIVEN,
    INGESTION_STATUS_CANCELLED,
    INGESTION_STATUS_RUNNING,
    CancelIngestionRequest,
    CancelIngestionResponse,
    GetIngestionRequest,
    GetIngestionResponse,
    HeldDocument,
    Ingestion,
    IngestProgress,
    IngestRequest,
    IngestResponse,
    IngestSummary,
    ListDocumentsRequest,
    ListDocumentsResponse,
    ListIngestionsRequest,
    ListIngestionsResponse,
    ListPipelinesRequest,
    ListPipelinesResponse,
    PipelineState,
    QueryRequest,
    QueryResponse,
)
from astromesh.v1.rag_pb2_grpc import RagServiceServicer, add_RagServiceServicer_to_server
from astromesh.v1.runs_pb2 import Run
from astromesh.v1.runtime_pb2 import ReadPromptRequest, ReadPromptResponse, ReplayRunRequest, ReplayRunResponse
from astromesh.v1.runtime_pb2_grpc import RuntimeServiceServicer, add_RuntimeServiceServicer_to_server
from astromesh.v1.tools_pb2_grpc import add_ToolsServiceServicer_to_server
from astromesh.v1.values_pb2 import VERDICT_ACTION_WARN, Finding, ToolSpec, Verdict
from astromesh_core.errors import NotFound, Unavailable
from astromesh_core.rpc.identity import Caller, current_caller
from astromesh_core.rpc.ports import RpcServer, ServicerContext
from astromesh_testing.services import FakeGuardrails, FakeTools


class AskedHistory(HistoryServiceServicer):
    """Lists `runs`, sums up to `costs`, has archived nothing and nobody at work. Set `away`, it does not say so."""

    def __init__(self) -> None:
        self.away = False
        self.runs: list[Run] = []
        self.costs = SumCostsResponse()
        self.summed: list[SumCostsRequest] = []
        self.requests: list[HistoryServiceListRunsRequest] = []
        self.callers: list[Caller] = []

    async def ListRuns(
        self, request: HistoryServiceListRunsRequest, context: ServicerContext
    ) -> HistoryServiceListRunsResponse:
        del context
        self.requests.append(request)
        self.callers.append(current_caller())
        return HistoryServiceListRunsResponse(runs=self.runs, next_page_token="next")

    async def ListEvents(self, request: ListEventsRequest, context: ServicerContext) -> ListEventsResponse:
        del request, context
        return ListEventsResponse()

    async def SumCosts(self, request: SumCostsRequest, context: ServicerContext) -> SumCostsResponse:
        del context
        self.summed.append(request)
        return self.costs

    async def FindOpenRuns(self, request: FindOpenRunsRequest, context: ServicerContext) -> FindOpenRunsResponse:
        del request, context
        if self.away:
            raise Unavailable("history does not answer")
        return FindOpenRunsResponse()


class AskedMemory(MemoryServiceServicer):
    """Remembers `entries`, until a test forgets them, and beside them what is `related`."""

    def __init__(self) -> None:
        self.entries: list[HistoryEntry] = []
        self.related = RecallRelatedResponse()
        self.related_requests: list[RecallRelatedRequest] = []
        self.rebuilt = RebuildMemoryResponse()

    async def RecallRelated(self, request: RecallRelatedRequest, context: ServicerContext) -> RecallRelatedResponse:
        del context
        self.related_requests.append(request)
        return self.related

    async def RebuildMemory(self, request: RebuildMemoryRequest, context: ServicerContext) -> RebuildMemoryResponse:
        del request, context
        return self.rebuilt

    async def FindUserSessions(
        self, request: FindUserSessionsRequest, context: ServicerContext
    ) -> FindUserSessionsResponse:
        del request, context
        return FindUserSessionsResponse()

    async def ListHistory(self, request: ListHistoryRequest, context: ServicerContext) -> ListHistoryResponse:
        del request, context
        return ListHistoryResponse(entries=self.entries)


class AskedRuntime(RuntimeServiceServicer):
    """Finds every replay identical, and knows no prompt before event 2."""

    async def ReplayRun(self, request: ReplayRunRequest, context: ServicerContext) -> ReplayRunResponse:
        del request, context
        return ReplayRunResponse(identical=True, events=9, duration_nano=1_000_000)

    async def ReadPrompt(self, request: ReadPromptRequest, context: ServicerContext) -> ReadPromptResponse:
        del context
        return ReadPromptResponse(path="1") if request.index > 1 else ReadPromptResponse()


class AskedRag(RagServiceServicer):
    """One pipeline, which takes in whatever it is given. Set `away`, it does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.ingested: list[IngestRequest] = []
        self.left = asyncio.Event()
        """Whether a caller left the pipeline "slow", which never ends."""
        self.listed: list[ListIngestionsRequest] = []
        self.asked: list[QueryRequest] = []

    async def ListPipelines(self, request: ListPipelinesRequest, context: ServicerContext) -> ListPipelinesResponse:
        del request, context
        if self.away:
            raise Unavailable("rag does not answer")
        return ListPipelinesResponse(pipelines=[PipelineState(name="docs", store="faiss", documents=3)])

    async def Query(self, request: QueryRequest, context: ServicerContext) -> QueryResponse:
        del context
        self.asked.append(request)
        response = QueryResponse()
        response.passages.add(id="p", source="a.md", score=0.9).text.text = "found"
        response.passages[0].metadata_json = '{"year":2026}'
        return response

    async def ListDocuments(self, request: ListDocumentsRequest, context: ServicerContext) -> ListDocumentsResponse:
        del context
        held = HeldDocument(source=f"{request.pipeline} {request.page_size}", origin=DOCUMENT_ORIGIN_GIVEN)
        return ListDocumentsResponse(documents=[held], next_page_token=request.page_token)

    async def ListIngestions(self, request: ListIngestionsRequest, context: ServicerContext) -> ListIngestionsResponse:
        del context
        self.listed.append(request)
        return ListIngestionsResponse(ingestions=[_ingestion(request.pipeline)], next_page_token="next")

    async def GetIngestion(self, request: GetIngestionRequest, context: ServicerContext) -> GetIngestionResponse:
        del context
        if request.ingestion_id != "01":
            raise NotFound("there is no such ingestion")
        change = DocumentChange(source="a.md", outcome=DOCUMENT_OUTCOME_REFUSED, reason="is binary")
        return GetIngestionResponse(ingestion=_ingestion(request.pipeline), changes=[change])

    async def CancelIngestion(
        self, request: CancelIngestionRequest, context: ServicerContext
    ) -> CancelIngestionResponse:
        del context
        ended = _ingestion(request.pipeline)
        ended.status, ended.reason, ended.ended_unix_nano = INGESTION_STATUS_CANCELLED, request.reason, 2
        return CancelIngestionResponse(ingestion=ended)

    async def Ingest(self, request: IngestRequest, context: ServicerContext) -> AsyncIterator[IngestResponse]:
        del context
        self.ingested.append(request)
        if request.pipeline == "slow":
            yield IngestResponse(progress=IngestProgress(source="a.md"))
            try:
                await asyncio.sleep(60)
            finally:
                self.left.set()
        total = len(request.documents)
        for done, document in enumerate(request.documents, 1):
            progress = IngestProgress(source=document.source, documents_done=done, documents_total=total)
            yield IngestResponse(progress=progress)
        yield IngestResponse(summary=IngestSummary(added=total, chunks=total))


def _ingestion(pipeline: str) -> Ingestion:
    return Ingestion(
        id="01",
        pipeline=pipeline,
        cause=INGESTION_CAUSE_SCHEDULED,
        status=INGESTION_STATUS_RUNNING,
        requested_unix_nano=1,
        counts=IngestionCounts(documents_total=3, documents_done=1, refused=1),
    )


class AskedGuardrails(FakeGuardrails):
    """One rule, of a shared policy and tried out."""

    async def CheckText(self, request: CheckTextRequest, context: ServicerContext) -> CheckTextResponse:
        """Warns of the first word, and blocks "forbidden"."""
        answer = await super().CheckText(request, context)
        found = Finding(kind="WORD", end=4, severity="low")
        verdict = Verdict(
            rule="content_filter", action=VERDICT_ACTION_WARN, findings=[found], policy="strict", dry_run=True
        )
        answer.verdicts.append(verdict)
        answer.places.append("guardrails.input[0].rules[0]")
        answer.reason = "content_filter: no" if answer.blocked else ""
        return answer


@dataclass
class AskedServices:
    """All of them, to be added to one server."""

    history: AskedHistory = field(default_factory=AskedHistory)
    memory: AskedMemory = field(default_factory=AskedMemory)
    runtime: AskedRuntime = field(default_factory=AskedRuntime)
    tools: FakeTools = field(default_factory=lambda: FakeTools(ToolSpec(name="add", type="internal")))
    rag: AskedRag = field(default_factory=AskedRag)
    guardrails: AskedGuardrails = field(default_factory=AskedGuardrails)

    def register(self, server: RpcServer) -> None:
        """Adds them."""
        add_HistoryServiceServicer_to_server(self.history, server)
        add_MemoryServiceServicer_to_server(self.memory, server)
        add_RuntimeServiceServicer_to_server(self.runtime, server)
        add_ToolsServiceServicer_to_server(self.tools, server)
        add_RagServiceServicer_to_server(self.rag, server)
        add_GuardrailsServiceServicer_to_server(self.guardrails, server)
