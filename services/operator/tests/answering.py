"""Services that answer the operator as a test wants, behind the in-process channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field

from astromesh.v1.guardrails_pb2 import CheckRulesRequest, CheckRulesResponse, RuleProblem
from astromesh.v1.guardrails_pb2_grpc import (
    GuardrailsServiceServicer,
    GuardrailsServiceStub,
    add_GuardrailsServiceServicer_to_server,
)
from astromesh.v1.memory_pb2 import CheckMemoryRequest, CheckMemoryResponse, MemoryStoreHealth
from astromesh.v1.memory_pb2_grpc import (
    MemoryServiceServicer,
    MemoryServiceStub,
    add_MemoryServiceServicer_to_server,
)
from astromesh.v1.router_pb2 import (
    CheckProvidersRequest,
    CheckProvidersResponse,
    CompleteRequest,
    CompleteResponse,
    ProviderHealth,
)
from astromesh.v1.router_pb2_grpc import RouterServiceServicer, RouterServiceStub, add_RouterServiceServicer_to_server
from astromesh.v1.tools_pb2 import (
    DescribeToolsRequest,
    DescribeToolsResponse,
    ExecuteToolRequest,
    ExecuteToolResponse,
    ToolSource,
)
from astromesh.v1.tools_pb2_grpc import ToolsServiceServicer, ToolsServiceStub, add_ToolsServiceServicer_to_server
from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.errors import AstromeshError, NotSupported
from astromesh_core.readiness import Check, Health
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_operator.observing import Services

NOT_THE_OPERATORS = NotSupported("nothing that the operator asks")


@dataclass
class Answers:
    """What each service answers; change it while they serve."""

    providers: list[ProviderHealth] = field(
        default_factory=lambda: [ProviderHealth(provider="extractive", reachable=True)]
    )
    stores: list[MemoryStoreHealth] = field(
        default_factory=lambda: [MemoryStoreHealth(kind="conversational", backend="sqlite", connected=True)]
    )
    tools: list[str] = field(default_factory=list[str])
    sources: list[ToolSource] = field(default_factory=list[ToolSource])
    rule_problems: list[RuleProblem] = field(default_factory=list[RuleProblem])
    failures: dict[str, AstromeshError] = field(default_factory=dict[str, AstromeshError])

    def serving(self, service: str) -> Check:
        """The check of a service of which no more is asked."""

        async def checked() -> Health:
            failure = self.failures.get(service)
            return Health(failure is None, failure.message if failure else "")

        return checked

    def check(self, service: str) -> None:
        """Raises what the service shall raise."""
        if service in self.failures:
            raise self.failures[service]


class Router(RouterServiceServicer):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    async def CheckProviders(self, request: CheckProvidersRequest, context: ServicerContext) -> CheckProvidersResponse:
        self.answers.check("router")
        return CheckProvidersResponse(providers=self.answers.providers)

    def Complete(self, request: CompleteRequest, context: ServicerContext) -> AsyncIterator[CompleteResponse]:
        raise NOT_THE_OPERATORS


class Memory(MemoryServiceServicer):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    async def CheckMemory(self, request: CheckMemoryRequest, context: ServicerContext) -> CheckMemoryResponse:
        self.answers.check("memory")
        return CheckMemoryResponse(stores=self.answers.stores)


class Tools(ToolsServiceServicer):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    async def DescribeTools(self, request: DescribeToolsRequest, context: ServicerContext) -> DescribeToolsResponse:
        self.answers.check("tools")
        tools = [ToolSpec(name=name) for name in self.answers.tools]
        return DescribeToolsResponse(tools=tools, sources=self.answers.sources)

    def ExecuteTool(self, request: ExecuteToolRequest, context: ServicerContext) -> Awaitable[ExecuteToolResponse]:
        raise NOT_THE_OPERATORS


class Guardrails(GuardrailsServiceServicer):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    async def CheckRules(self, request: CheckRulesRequest, context: ServicerContext) -> CheckRulesResponse:
        self.answers.check("guardrails")
        return CheckRulesResponse(problems=self.answers.rule_problems)


def answering(answers: Answers, telemetry: Telemetry | None = None) -> Services:
    """Stubs of services that answer so."""
    server = InProcessServer(telemetry or Telemetry())
    server.install(lambda it: add_RouterServiceServicer_to_server(Router(answers), it))
    memory = Memory(answers)  # pyright: ignore[reportAbstractUsage] - the rest is nothing that the operator asks
    server.install(lambda it: add_MemoryServiceServicer_to_server(memory, it))
    server.install(lambda it: add_ToolsServiceServicer_to_server(Tools(answers), it))
    guardrails = Guardrails(answers)  # pyright: ignore[reportAbstractUsage] - the rest is nothing that the operator asks
    server.install(lambda it: add_GuardrailsServiceServicer_to_server(guardrails, it))
    channel = server.channel()
    return Services(
        router=RouterServiceStub(channel),
        router_serves=answers.serving("router"),
        memory=MemoryServiceStub(channel),
        tools=ToolsServiceStub(channel),
        guardrails=GuardrailsServiceStub(channel),
        rag=answers.serving("rag"),
        runtime=answers.serving("runtime"),
    )
