"""Fakes of the services that a run calls: each answers from a script and records what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from astromesh.v1.guardrails_pb2 import (
    CheckPartRequest,
    CheckPartResponse,
    CheckRulesRequest,
    CheckRulesResponse,
    CheckTextRequest,
    CheckTextResponse,
    MaskTextsRequest,
    MaskTextsResponse,
    PartState,
)
from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceServicer, add_GuardrailsServiceServicer_to_server
from astromesh.v1.memory_pb2 import (
    RecallRelatedRequest,
    RecallRelatedResponse,
    RecallRequest,
    RecallResponse,
)
from astromesh.v1.memory_pb2_grpc import MemoryServiceServicer, add_MemoryServiceServicer_to_server
from astromesh.v1.rag_pb2 import QueryRequest, QueryResponse
from astromesh.v1.rag_pb2_grpc import RagServiceServicer, add_RagServiceServicer_to_server
from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, Completion
from astromesh.v1.router_pb2_grpc import RouterServiceServicer, add_RouterServiceServicer_to_server
from astromesh.v1.tools_pb2 import (
    DescribeToolsRequest,
    DescribeToolsResponse,
    ExecuteToolRequest,
    ExecuteToolResponse,
    ToolSource,
)
from astromesh.v1.tools_pb2_grpc import ToolsServiceServicer, add_ToolsServiceServicer_to_server
from astromesh.v1.values_pb2 import (
    ROLE_ASSISTANT,
    ROLE_TOOL,
    Charge,
    MaskedValue,
    Message,
    Passage,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from astromesh_core.events.contents import text_content
from astromesh_core.rpc.ports import RpcServer, ServicerContext

Parts = Callable[[CompleteRequest], AsyncIterator[CompleteResponse]]
ADA = "ada@example.com"
MASKED = MaskedValue(token="<EMAIL_1>", value=text_content(ADA))

Execute = Callable[[ExecuteToolRequest], Awaitable[ExecuteToolResponse]]


def text(delta: str) -> CompleteResponse:
    """A piece of a reply."""
    return CompleteResponse(text_delta=delta)


def completion(answer: str, *calls: ToolCall) -> CompleteResponse:
    """The end of a reply."""
    message = Message(role=ROLE_ASSISTANT, content=text_content(answer), tool_calls=calls)
    charge = Charge(provider="fake", model="fake-1", usage=Usage(input_tokens=10, output_tokens=5))
    return CompleteResponse(completion=Completion(message=message, finish_reason="stop", charge=charge))


async def one_tool(request: CompleteRequest) -> AsyncIterator[CompleteResponse]:
    """Asks for the first tool offered, then answers with what it returned."""
    results = [message for message in request.messages if message.role == ROLE_TOOL]
    if request.tools and not results:
        call = ToolCall(id=f"call_{request.path}", name=request.tools[0].name, arguments=text_content('{"a": 1}'))
        yield completion("", call)
        return
    answer = f"it is {results[-1].content.text}" if results else "hello"
    for word in answer.split(" "):
        yield text(word if word == answer.split(" ")[0] else f" {word}")
    yield completion(answer)


async def succeeds(request: ExecuteToolRequest) -> ExecuteToolResponse:
    """Every call answers "2"."""
    result = ToolResult(tool_call_id=request.call.id, name=request.call.name, output=text_content("2"))
    return ExecuteToolResponse(result=result)


class FakeRouter(RouterServiceServicer):
    """Answers with `parts`; `requests` are the calls made, `left` those that the caller did not read to the end."""

    def __init__(self, parts: Parts = one_tool) -> None:
        self.parts = parts
        self.requests: list[CompleteRequest] = []
        self.left = 0

    async def Complete(self, request: CompleteRequest, context: ServicerContext) -> AsyncIterator[CompleteResponse]:
        """Streams the script."""
        del context
        self.requests.append(request)
        try:
            async for part in self.parts(request):
                yield part
        except (asyncio.CancelledError, GeneratorExit):
            self.left += 1
            raise


class FakeTools(ToolsServiceServicer):
    """Offers `specs` and executes with `execute`; `calls` is the ledger of what was executed. `away` is what is raised
    where the tools of an agent of this name are asked for, `sources` are those who offer them, `described` counts."""

    def __init__(self, *specs: ToolSpec, execute: Execute = succeeds) -> None:
        self.specs = specs
        self.execute = execute
        self.calls: list[ExecuteToolRequest] = []
        self.away: dict[str, Exception] = {}
        self.sources: tuple[ToolSource, ...] = ()
        self.described = 0

    async def DescribeTools(self, request: DescribeToolsRequest, context: ServicerContext) -> DescribeToolsResponse:
        """The catalogue."""
        del context
        if request.agent.name in self.away:
            raise self.away[request.agent.name]
        self.described += 1
        return DescribeToolsResponse(tools=self.specs, sources=self.sources)

    async def ExecuteTool(self, request: ExecuteToolRequest, context: ServicerContext) -> ExecuteToolResponse:
        """Executes, and notes it first: a call that never answers was made all the same."""
        del context
        self.calls.append(request)
        return await self.execute(request)


class FakeMemory(MemoryServiceServicer):
    """Recalls `messages`, or what `recalled` is, and what `related` is; `gone` is what a recall of the conversation
    raises, and `away` one of the latter."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.requests: list[RecallRequest] = []
        self.recalled: RecallResponse | None = None
        self.gone: Exception | None = None
        self.related = RecallRelatedResponse()
        self.related_requests: list[RecallRelatedRequest] = []
        self.away: Exception | None = None

    async def Recall(self, request: RecallRequest, context: ServicerContext) -> RecallResponse:
        """What is remembered."""
        del context
        self.requests.append(request)
        if self.gone is not None:
            raise self.gone
        return self.recalled or RecallResponse(messages=self.messages)

    async def RecallRelated(self, request: RecallRelatedRequest, context: ServicerContext) -> RecallRelatedResponse:
        """What is remembered beside the conversation."""
        del context
        self.related_requests.append(request)
        if self.away is not None:
            raise self.away
        return self.related


class FakeGuardrails(GuardrailsServiceServicer):
    """Replaces "secret"; blocks what holds "forbidden"; masks ADA, in every run by the same token."""

    def __init__(self) -> None:
        self.requests: list[CheckTextRequest] = []
        self.parts: list[CheckPartRequest] = []
        self.away: Exception | None = None
        """What checking a part raises."""

    async def CheckText(self, request: CheckTextRequest, context: ServicerContext) -> CheckTextResponse:
        """The verdict."""
        del context
        self.requests.append(request)
        blocked = "forbidden" in request.text.text
        checked = "" if blocked else request.text.text.replace("secret", "[GONE]").replace(ADA, "<EMAIL_1>")
        masked = [MASKED] if ADA in request.text.text and not request.masked else []
        return CheckTextResponse(text=text_content(checked), blocked=blocked, policy_sha256=b"policy", masked=masked)

    async def CheckRules(self, request: CheckRulesRequest, context: ServicerContext) -> CheckRulesResponse:
        """All work."""
        del request, context
        return CheckRulesResponse()

    async def CheckPart(self, request: CheckPartRequest, context: ServicerContext) -> CheckPartResponse:
        """Holds back the last word, and replaces "secret"."""
        del context
        self.parts.append(request)
        if self.away is not None:
            raise self.away
        whole = "".join(state.held for state in request.states) + request.text
        cut = len(whole) if request.last else whole.rfind(" ") + 1
        return CheckPartResponse(text=whole[:cut].replace("secret", "[GONE]"), states=[PartState(held=whole[cut:])])

    async def MaskTexts(self, request: MaskTextsRequest, context: ServicerContext) -> MaskTextsResponse:
        """Masks ADA."""
        del context
        texts = [text_content(text.text.replace(ADA, "<EMAIL_1>")) for text in request.texts]
        found = not request.masked and any(ADA in text.text for text in request.texts)
        return MaskTextsResponse(texts=texts, masked=[MASKED] if found else [])


class FakeRag(RagServiceServicer):
    """Finds `passages`."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []

    async def Query(self, request: QueryRequest, context: ServicerContext) -> QueryResponse:
        """What was found."""
        del request, context
        return QueryResponse(passages=self.passages)


@dataclass
class FakeServices:
    """All of them, to be added to one server."""

    router: FakeRouter = field(default_factory=FakeRouter)
    tools: FakeTools = field(default_factory=FakeTools)
    memory: FakeMemory = field(default_factory=FakeMemory)
    guardrails: FakeGuardrails = field(default_factory=FakeGuardrails)
    rag: FakeRag = field(default_factory=FakeRag)

    def register(self, server: RpcServer) -> None:
        """Adds them."""
        add_RouterServiceServicer_to_server(self.router, server)
        add_ToolsServiceServicer_to_server(self.tools, server)
        add_MemoryServiceServicer_to_server(self.memory, server)
        add_GuardrailsServiceServicer_to_server(self.guardrails, server)
        add_RagServiceServicer_to_server(self.rag, server)
