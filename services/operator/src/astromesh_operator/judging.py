"""From what services answered to conditions. Pure; asking them stands in `observing`.

True      it works; the reason says how, the message what is less than wished
False     it cannot work until somebody mends it, or switches on the service that it needs
Unknown   the service that knows has not answered; asked again soon
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from astromesh.v1.guardrails_pb2 import RuleProblem
from astromesh.v1.memory_pb2 import MemoryStoreHealth
from astromesh.v1.router_pb2 import ProviderHealth
from astromesh.v1.tools_pb2 import ToolSource
from astromesh_core.errors import AstromeshError, NotSupported, PermanentError
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_tools import DISCOVERED, RagTool
from astromesh_core.resources.conditions import SERVICE_DISABLED, TOOLS_CONNECTED, Condition, switched_off
from astromesh_core.resources.guardrail_streaming import held_back
from astromesh_core.resources.guardrails import STAGES, GuardrailsSpec

NOT_ANSWERED: Final = "NotAnswered"
_CONNECTED: Final = "Connected"


def failed(condition: str, service: str, error: AstromeshError, off: Collection[str]) -> Condition:
    """A service's refusal is False; that it did not answer says nothing about the resource, unless the service is one
    of `off`: then nobody will ever answer."""
    # NotSupported comes from a process that does not serve the method (yet); what this release cannot do was found
    # before anybody was asked.
    if isinstance(error, PermanentError) and not isinstance(error, NotSupported):
        return Condition(condition, "False", _camel(error.code), error.message)
    if service in off:
        return Condition(condition, "False", SERVICE_DISABLED, switched_off(service))
    return Condition(condition, "Unknown", NOT_ANSWERED, f"{service}: {error.message}")


def providers_of_agent(healths: Sequence[ProviderHealth]) -> Condition:
    """True as soon as one of an agent's models answers: the router falls back to it in order."""
    down = "; ".join(_why(health) for health in healths if not _usable(health))
    serving = next((health for health in healths if _usable(health)), None)
    if serving is None:
        return Condition("ProviderReachable", "False", "NoProviderReachable", down)
    if not down:
        return Condition("ProviderReachable", "True", "AllReachable", f"served by {serving.provider}")
    reason = "Reachable" if serving is healths[0] else "FallbackReachable"
    return Condition("ProviderReachable", "True", reason, f"served by {serving.provider}; {down}")


def tools(names: Sequence[str]) -> Condition:
    """What the tools service offers an agent."""
    return Condition("ToolsRegistered", "True", "Registered" if names else "NoTools", ", ".join(names))


def guardrails(agent: AgentSpec, problems: Sequence[RuleProblem]) -> Condition:
    """True where all rules of an agent that declares some can do their work."""
    if problems:
        said = "; ".join(f"{problem.place}: {problem.message}" for problem in problems)
        return Condition("GuardrailsLoaded", "False", problems[0].reason, said)
    declared = (rule.type for stage in STAGES for _, rule, _, _ in agent.guardrails.rules(stage))
    return Condition("GuardrailsLoaded", "True", "Loaded", ", ".join(declared) + _streaming(agent.guardrails))


def _streaming(guardrails: GuardrailsSpec) -> str:
    """When the answer is told, of an agent that has rules for it."""
    if not guardrails.output:
        return ""
    held = "; ".join(f"{place}: {reason}" for place, reason in held_back(guardrails))
    return f"; the answer is told when it is whole ({held})" if held else "; the answer is told while it is written"


def is_offered_tools(agent: AgentSpec) -> bool:
    """Whether others offer the agent tools."""
    return any(tool.type in DISCOVERED for tool in agent.tools)


def sources(found: Sequence[ToolSource]) -> Condition:
    """True where everyone offers their tools without whom no run begins; who else is away, or offers less, is said."""
    missing = [source for source in found if source.required and not source.connected]
    said = "; ".join(source.message for source in found if not source.connected or source.reason != _CONNECTED)
    if missing:
        return Condition(TOOLS_CONNECTED, "False", missing[0].reason, said)
    if any(not source.connected for source in found):
        return Condition(TOOLS_CONNECTED, "True", "OptionalAway", said)
    if said:
        return Condition(TOOLS_CONNECTED, "True", "SomeLeftOut", said)
    return Condition(TOOLS_CONNECTED, "True", _CONNECTED, "; ".join(source.message for source in found))


def memory(stores: Sequence[MemoryStoreHealth]) -> Condition:
    """True where all the stores that an agent declares answer; a stand-in for one of them is said."""
    away = [store for store in stores if not store.connected]
    if away:
        said = "; ".join(f"{store.kind}: {store.message}" for store in away)
        return Condition("MemoryConnected", "False", away[0].reason, said)
    instead = next((store for store in stores if store.message), None)
    if instead is not None:
        return Condition("MemoryConnected", "True", instead.reason, instead.message)
    told = ", ".join(dict.fromkeys(store.backend for store in stores))
    return Condition("MemoryConnected", "True", "Connected", told)


def retrieves(agent: AgentSpec) -> bool:
    """Whether the agent's runs ask the rag service."""
    return agent.knowledge is not None or any(isinstance(tool, RagTool) for tool in agent.tools)


def _usable(health: ProviderHealth) -> bool:
    return health.reachable and not health.reason


def _why(health: ProviderHealth) -> str:
    return health.reason or f"{health.provider} at {health.endpoint} does not answer"


def _camel(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("-"))
