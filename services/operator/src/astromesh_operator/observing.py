"""Asks services what they know of an agent or a provider. What the answers mean stands in `judging`; what services tell
unasked stands in `told`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from astromesh.v1.guardrails_pb2 import CheckRulesRequest
from astromesh.v1.memory_pb2 import CheckMemoryRequest
from astromesh.v1.router_pb2 import CheckProvidersRequest
from astromesh.v1.tools_pb2 import DescribeToolsRequest, ToolSource
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_core.readiness import Check
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_memory import MemorySpec
from astromesh_core.resources.conditions import Condition
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.resource import Resource
from astromesh_operator import judging

if TYPE_CHECKING:
    from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceAsyncStub
    from astromesh.v1.memory_pb2_grpc import MemoryServiceAsyncStub
    from astromesh.v1.router_pb2_grpc import RouterServiceAsyncStub
    from astromesh.v1.tools_pb2_grpc import ToolsServiceAsyncStub

ASK_SECONDS: Final = 3.0
"""How long a service may take to answer."""

RULES_SECONDS: Final = 15.0
"""How long guardrails may take: a model is loaded for some, and embeds what they compare with."""

PROVIDER_SECONDS: Final = 6.0
"""How long the router may take: it gives each provider 5 s."""


@dataclass(frozen=True)
class Services:
    """The services that are asked; of rag and runtime, whether they serve is all that there is to know. Of providers
    the router tells by itself, while it serves."""

    router: RouterServiceAsyncStub
    router_serves: Check
    memory: MemoryServiceAsyncStub
    tools: ToolsServiceAsyncStub
    guardrails: GuardrailsServiceAsyncStub
    rag: Check
    runtime: Check


@dataclass(frozen=True)
class Observed:
    """What was found out about one resource."""

    conditions: tuple[Condition, ...] = ()
    figures: dict[str, int | float | str] = field(default_factory=dict[str, int | float | str])


class Observer:
    """Asks about resources that this release supports."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def observe(self, resource: Resource, ref: ResourceRef, off: Collection[str] = ()) -> Observed:
        """Asks everyone concerned, all at once; about kinds of which services tell by themselves, only whether there
        is one to tell. `off` are the services that runtime.yaml switches off.

        Never raises for a service that refuses or is away.
        """
        asked = _Asked(self._services, resource, ref, off)
        match resource.spec:
            case AgentSpec() as agent:
                return Observed(await asked.of_agent(agent))
            case ProviderSpec():
                return Observed(await asked.if_away("EndpointReachable", "router", self._services.router_serves))
            case RAGPipelineSpec():
                return Observed(await asked.if_off("StoreConnected", "rag", self._services.rag))
            case _:
                return Observed()


class _Asked:
    """One round of questions about one resource."""

    def __init__(self, services: Services, resource: Resource, ref: ResourceRef, off: Collection[str]) -> None:
        self._services = services
        self._resource = resource
        self._ref = ref
        self._off = off
        self._sources: Sequence[ToolSource] | None = None

    async def of_agent(self, agent: AgentSpec) -> tuple[Condition, ...]:
        """The conditions of an agent, and one more where no worker shall run it."""
        conditions = await asyncio.gather(
            self._told("ProviderReachable", "router", self._models()),
            self._told("MemoryConnected", "memory", self._memory(agent)),
            self._tools(agent),
            self._told("GuardrailsLoaded", "guardrails", self._guardrails(agent)),
        )
        offered = self._offered_tools(agent)
        return (*conditions, *offered, *await self.if_off("RunsServed", "runtime", self._services.runtime))

    async def if_off(self, condition: str, service: str, serves: Check) -> tuple[Condition, ...]:
        """The condition, where the service is switched off and does not serve all the same; else none."""
        return await self.if_away(condition, service, serves) if service in self._off else ()

    async def if_away(self, condition: str, service: str, serves: Check) -> tuple[Condition, ...]:
        """The condition, where the service does not serve; else none."""
        health = await serves()
        return () if health.ok else (judging.failed(condition, service, Unavailable(health.reason), self._off),)

    async def _models(self) -> Condition:
        request = CheckProvidersRequest(agent=self._ref)
        reply = await self._services.router.CheckProviders(request, timeout=PROVIDER_SECONDS)
        return judging.providers_of_agent(reply.providers)

    async def _memory(self, agent: AgentSpec) -> Condition:
        if agent.memory == MemorySpec():
            return Condition("MemoryConnected", "True", "NoMemory", "the agent declares none")
        check = CheckMemoryRequest(agent=self._ref)
        return judging.memory((await self._services.memory.CheckMemory(check, timeout=ASK_SECONDS)).stores)

    async def _tools(self, agent: AgentSpec) -> Condition:
        registered = await self._told("ToolsRegistered", "tools", self._registered())
        if registered.status != "True" or not judging.retrieves(agent):
            return registered
        return await self._told("ToolsRegistered", "rag", self._retrieving(registered))

    async def _registered(self) -> Condition:
        reply = await self._services.tools.DescribeTools(DescribeToolsRequest(agent=self._ref), timeout=ASK_SECONDS)
        self._sources = reply.sources
        return judging.tools([tool.name for tool in reply.tools])

    def _offered_tools(self, agent: AgentSpec) -> tuple[Condition, ...]:
        """How those are doing who offer the agent tools; nothing of an agent that nobody offers any."""
        offered = judging.is_offered_tools(agent)
        return (judging.sources(self._sources),) if offered and self._sources is not None else ()

    async def _retrieving(self, registered: Condition) -> Condition:
        health = await self._services.rag()
        if not health.ok:
            raise Unavailable(health.reason)
        return registered

    async def _guardrails(self, agent: AgentSpec) -> Condition:
        if agent.guardrails.is_empty:
            return Condition("GuardrailsLoaded", "True", "NoRules", "the agent declares none")
        request = CheckRulesRequest(agent=self._ref)
        answer = await self._services.guardrails.CheckRules(request, timeout=RULES_SECONDS)
        return judging.guardrails(agent, answer.problems)

    async def _told(self, condition: str, service: str, answer: Awaitable[Condition]) -> Condition:
        try:
            return await answer
        except AstromeshError as error:
            return judging.failed(condition, service, error, self._off)
