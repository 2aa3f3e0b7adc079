"""Asks services what they know of an agent or a provider. What the answers mean stands in `judging`; what services tell
unasked stands in `told`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_INPUT, CheckTextRequest
from astromesh.v1.memory_pb2 import RecallRequest
from astromesh.v1.router_pb2 import CheckProvidersRequest
from astromesh.v1.tools_pb2 import DescribeToolsRequest
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import AstromeshError
from astromesh_core.events.contents import text_content
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.conditions import Condition
from astromesh_core.resources.features import fallbacks
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.resource import Resource
from astromesh_operator import judging

if TYPE_CHECKING:
    from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceAsyncStub
    from astromesh.v1.memory_pb2_grpc import MemoryServiceAsyncStub
    from astromesh.v1.router_pb2_grpc import RouterServiceAsyncStub
    from astromesh.v1.tools_pb2_grpc import ToolsServiceAsyncStub

ASK_SECONDS: Final = 3.0
"""How long a service may take to answer."""

PROVIDER_SECONDS: Final = 6.0
"""How long the router may take: it gives each provider 5 s."""

_NO_SESSION: Final = "a" * 26


@dataclass(frozen=True)
class Services:
    """The services that are asked."""

    router: RouterServiceAsyncStub
    memory: MemoryServiceAsyncStub
    tools: ToolsServiceAsyncStub
    guardrails: GuardrailsServiceAsyncStub


@dataclass(frozen=True)
class Observed:
    """What was found out about one resource."""

    conditions: tuple[Condition, ...] = ()
    figures: dict[str, int | float | str] = field(default_factory=dict[str, int | float | str])


class Observer:
    """Asks about resources that this release supports."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def observe(self, resource: Resource, ref: ResourceRef) -> Observed:
        """Asks everyone concerned, all at once; nobody about kinds of which services tell by themselves.

        Never raises for a service that refuses or is away.
        """
        match resource.spec:
            case AgentSpec() as agent:
                return Observed(await self._agent(resource, agent, ref))
            case ProviderSpec():
                return Observed(await self._provider(ref))
            case _:
                return Observed()

    async def _agent(self, resource: Resource, agent: AgentSpec, ref: ResourceRef) -> tuple[Condition, ...]:
        return tuple(
            await asyncio.gather(
                _asked("ProviderReachable", "router", self._models(ref)),
                _asked("MemoryConnected", "memory", self._memory(resource, agent, ref)),
                _asked("ToolsRegistered", "tools", self._tools(ref)),
                _asked("GuardrailsLoaded", "guardrails", self._guardrails(agent, ref)),
            )
        )

    async def _models(self, ref: ResourceRef) -> Condition:
        reply = await self._services.router.CheckProviders(CheckProvidersRequest(agent=ref), timeout=PROVIDER_SECONDS)
        return judging.providers_of_agent(reply.providers)

    async def _memory(self, resource: Resource, agent: AgentSpec, ref: ResourceRef) -> Condition:
        if agent.memory.conversational is None:
            return Condition("MemoryConnected", "True", "NoMemory", "the agent declares none")
        recall = RecallRequest(agent=ref, session_key=_NO_SESSION)
        await self._services.memory.Recall(recall, timeout=ASK_SECONDS)
        for fallback in fallbacks(resource):
            return Condition("MemoryConnected", "True", fallback.reason, fallback.message)
        return Condition("MemoryConnected", "True", "Connected", agent.memory.conversational.backend)

    async def _tools(self, ref: ResourceRef) -> Condition:
        reply = await self._services.tools.DescribeTools(DescribeToolsRequest(agent=ref), timeout=ASK_SECONDS)
        return judging.tools([tool.name for tool in reply.tools])

    async def _guardrails(self, agent: AgentSpec, ref: ResourceRef) -> Condition:
        rules = (*agent.guardrails.input, *agent.guardrails.output)
        if not rules:
            return Condition("GuardrailsLoaded", "True", "NoRules", "the agent declares none")
        # Checking any text compiles the rules of both stages; the empty one says nothing about anybody.
        empty = CheckTextRequest(agent=ref, stage=GUARDRAIL_STAGE_INPUT, text=text_content(""))
        await self._services.guardrails.CheckText(empty, timeout=ASK_SECONDS)
        return Condition("GuardrailsLoaded", "True", "Loaded", ", ".join(rule.type for rule in rules))

    async def _provider(self, ref: ResourceRef) -> tuple[Condition, ...]:
        try:
            request = CheckProvidersRequest(agent=ref)
            reply = await self._services.router.CheckProviders(request, timeout=PROVIDER_SECONDS)
        except AstromeshError as error:
            return (judging.failed("EndpointReachable", "router", error),)
        return tuple(judging.provider(reply.providers))


async def _asked(condition: str, service: str, answer: Awaitable[Condition]) -> Condition:
    try:
        return await answer
    except AstromeshError as error:
        return judging.failed(condition, service, error)
