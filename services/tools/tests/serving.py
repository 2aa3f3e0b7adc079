"""The tools service in a placement, with agents, a rag service of one passage, and modules written by a test."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from astromesh.v1.rag_pb2 import (
    CancelIngestionRequest,
    CancelIngestionResponse,
    GetIngestionRequest,
    GetIngestionResponse,
    IngestRequest,
    IngestResponse,
    ListDocumentsRequest,
    ListDocumentsResponse,
    ListIngestionsRequest,
    ListIngestionsResponse,
    ListPipelinesRequest,
    ListPipelinesResponse,
    QueryRequest,
    QueryResponse,
)
from astromesh.v1.rag_pb2_grpc import RagServiceServicer, RagServiceStub, add_RagServiceServicer_to_server
from astromesh.v1.tools_pb2 import CutResult, ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.tools_pb2_grpc import ToolsServiceStub, add_ToolsServiceServicer_to_server
from astromesh.v1.values_pb2 import Content, Passage, ResourceRef, StoredValue, ToolCall
from astromesh_core.errors import NotFound, NotSupported
from astromesh_core.events.contents import plain, text_content
from astromesh_core.outbound import Outbound
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.rpc.ports import RpcServer, ServicerContext
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.user_code.modules import Modules
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_testing.contracts.placement import Placement
from astromesh_tools.mcp.connections import Connections
from astromesh_tools.service import ToolsService
from astromesh_tools.surroundings import Surroundings
from astromesh_tools.tool import Clock
from astromesh_tools.toolbox import Toolboxes

if TYPE_CHECKING:
    from astromesh.v1.tools_pb2_grpc import ToolsServiceAsyncStub


class Agents:
    """Agent versions by hash, as the bus would keep them."""

    def __init__(self) -> None:
        self._specs: dict[bytes, str] = {}

    def add(self, *tools: dict[str, object], **more: object) -> ResourceRef:
        model = {"primary": {"provider": "ollama", "model": "m"}}
        spec = AgentSpec.model_validate_json(orjson.dumps({"model": model, "tools": tools, **more})).to_json()
        digest = sha256(spec.encode()).digest()
        self._specs[digest] = spec
        return ResourceRef(kind="Agent", namespace="shop", name="desk", sha256=digest)

    async def by_hash(self, ref: ResourceRef) -> str:
        if ref.sha256 not in self._specs:
            raise NotFound("no such version")
        return self._specs[ref.sha256]


class PlainValues:
    """An object store that no arguments were moved to. `away` is what putting raises."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.away: Exception | None = None

    async def resolve(self, content: Content) -> Content:
        return content

    async def put(self, data: bytes) -> StoredValue:
        if self.away is not None:
            raise self.away
        self.kept[sha256(data).digest()] = data
        return StoredValue(sha256=sha256(data).digest(), size_bytes=len(data))

    async def get(self, value: StoredValue) -> bytes:
        return self.kept[value.sha256]


class OneBook(RagServiceServicer):
    """A rag service with one passage, which keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[QueryRequest] = []

    async def Query(self, request: QueryRequest, context: ServicerContext) -> QueryResponse:
        self.asked.append(request)
        if request.pipeline == "gone":
            raise NotFound("there is no pipeline gone")
        passage = Passage(id="1", source="a.md", start=3, end=8, text=text_content("hello"), score=0.5)
        return QueryResponse(passages=[passage])

    async def Ingest(self, request: IngestRequest, context: ServicerContext) -> AsyncIterator[IngestResponse]:
        raise NotSupported("tools do not ingest")
        yield IngestResponse()

    async def ListPipelines(self, request: ListPipelinesRequest, context: ServicerContext) -> ListPipelinesResponse:
        raise NotSupported("tools do not list pipelines")

    async def ListDocuments(self, request: ListDocumentsRequest, context: ServicerContext) -> ListDocumentsResponse:
        raise NotSupported("tools do not list documents")

    async def ListIngestions(self, request: ListIngestionsRequest, context: ServicerContext) -> ListIngestionsResponse:
        raise NotSupported("tools do not list ingestions")

    async def GetIngestion(self, request: GetIngestionRequest, context: ServicerContext) -> GetIngestionResponse:
        raise NotSupported("tools look at no ingestion")

    async def CancelIngestion(
        self, request: CancelIngestionRequest, context: ServicerContext
    ) -> CancelIngestionResponse:
        raise NotSupported("tools cancel no ingestion")


class Mesh:
    """A running tools service: write modules, add agents, call tools."""

    def __init__(
        self, folder: Path, agents: Agents, stub: ToolsServiceAsyncStub, book: OneBook, values: PlainValues
    ) -> None:
        self.folder = folder
        self.agents = agents
        self.stub = stub
        self.book = book
        self.values = values

    def write(self, module: str, text: str) -> None:
        path = self.folder / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    async def call(
        self,
        agent: ResourceRef,
        name: str,
        arguments: str = "{}",
        *,
        start_before: int = 0,
        timeout: float = 10,
        at: str = "",
        cut: Mapping[str, StoredValue] | None = None,
    ) -> ExecuteToolResponse:
        """Calls a tool by hand, or `at` a path of a run that has cut these results."""
        request = ExecuteToolRequest(
            agent=agent,
            call=ToolCall(id="c1", name=name, arguments=text_content(arguments)),
            run_id="r" if at else "",
            path=at,
            cut_results=[CutResult(path=at, whole=whole) for at, whole in (cut or {}).items()],
            idempotency_key="run:2.1",
            start_before_unix_nano=start_before,
        )
        return await self.stub.ExecuteTool(request, timeout=timeout)

    async def output(self, agent: ResourceRef, name: str, arguments: str = "{}") -> str:
        response = await self.call(agent, name, arguments)
        assert response.HasField("result"), response
        return plain(response.result.output)


def function(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "type": "internal", "function": f"shop:{name}", "effect": "read", **fields}


@asynccontextmanager
async def running(
    folder: Path, placement: Placement, telemetry: Telemetry | None = None, clock: Clock = time.time_ns
) -> AsyncGenerator[Mesh]:
    telemetry = telemetry or Telemetry()
    agents, book, values = Agents(), OneBook(), PlainValues()
    threads = DaemonThreads(4)

    def register_rag(server: RpcServer) -> None:
        add_RagServiceServicer_to_server(book, server)

    name = "astromesh-tests"
    async with placement(register_rag) as rag, Outbound(name) as outbound, Connections(name) as connections:
        around = Surroundings(
            threads, outbound, clock, os.environ, folder.parent / "config", folder.parent / "data", values
        )
        toolboxes = Toolboxes(agents, Modules(folder), RagServiceStub(rag), around, connections)

        def register(server: RpcServer) -> None:
            add_ToolsServiceServicer_to_server(ToolsService(toolboxes, values, time.time_ns, telemetry), server)

        async with placement(register) as channel:
            yield Mesh(folder, agents, ToolsServiceStub(channel), book, values)
        threads.close()
        await toolboxes.close()
        await asyncio.sleep(0)


def failed(response: ExecuteToolResponse) -> tuple[str, str]:
    return response.failure.error_class, plain(response.failure.message)
