"""What this release can do. A resource that asks for more is stored and not Ready; nothing that it says is ignored.

When a feature is built, its line here goes and its fields work. Fields that will never exist stand in `refused`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_memory import ConversationalMemory, EpisodicMemory, MemorySpec
from astromesh_core.resources.agent_tools import DISCOVERED, BuiltinTool, McpTool
from astromesh_core.resources.builtin_configs import SqlQueryConfig
from astromesh_core.resources.candidates import DEFAULT_ROLE, Candidate
from astromesh_core.resources.channel import ChannelSpec
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.extras import CONVERSATION_EXTRAS, MCP, POSTGRES, PROVIDER_EXTRAS, STORE_EXTRAS, TORCH
from astromesh_core.resources.guardrail_meaning import Grounding, PromptInjection, TopicFilter
from astromesh_core.resources.guardrail_rules import PiiDetection, Rule
from astromesh_core.resources.guardrails import STAGES, GuardrailPolicySpec, GuardrailsSpec, PolicyUse
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.resources.vendors import vendor_of
from astromesh_core.resources.yaml_documents import Path

ROLES = {
    "react": frozenset((DEFAULT_ROLE,)),
    "plan_and_execute": frozenset((DEFAULT_ROLE, "planner", "executor", "synthesizer")),
    "pipeline": frozenset((DEFAULT_ROLE,)),
    "parallel_fan_out": frozenset((DEFAULT_ROLE, "judge", "synthesizer")),
    "supervisor": frozenset((DEFAULT_ROLE,)),
    "swarm": frozenset((DEFAULT_ROLE,)),
}
"""The roles that each pattern asks models for, beside those that its own parts name."""
_NO_CONNECTION = "sqlite keeps its file in the mesh's data folder and is not connected to"

Gap = tuple[Path, str]


@dataclass(frozen=True)
class Unsupported:
    """A field, as it was written, that asks for something this release does not have."""

    field: str
    reason: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        return f"{place}{self.field}: {self.reason}"


@dataclass(frozen=True)
class Fallback:
    """A field that is served by something other than it names. `reason` is the reason of the condition."""

    field: str
    reason: str
    message: str
    file: str = ""
    line: int = 0


def unsupported(resource: Resource) -> list[Unsupported]:
    """Lists everything that keeps a resource from being Ready in this release; empty: it can be served."""
    found: list[Unsupported] = []
    for path, reason in _gaps(resource):
        file, field, line = resource.locate(path)
        found.append(Unsupported(field, reason, file, line))
    return found


def fallbacks(resource: Resource) -> list[Fallback]:
    """Lists what is served by a stand-in: conversations and episodes in SQLite where the driver of what is named is
    missing and the agent is not strict."""
    if not isinstance(resource.spec, AgentSpec):
        return []
    memory, found = resource.spec.memory, list[Fallback]()
    for kind, what, declared in (
        ("conversational", "conversations", memory.conversational),
        ("episodic", "episodes", memory.episodic),
    ):
        extra = None if declared is None else CONVERSATION_EXTRAS.get(declared.backend)
        if declared is not None and not declared.strict and extra is not None and not extra.installed:
            file, field, line = resource.locate(("memory", kind, "backend"))
            message = f"{what} are kept in SQLite: {extra.missing}; for {declared.backend} {extra.advice}"
            found.append(Fallback(field, "FallbackSQLite", message, file, line))
    return found


def _gaps(resource: Resource) -> Iterator[Gap]:
    match resource.spec:
        case AgentSpec() as agent:
            yield from _agent(agent)
        case ProviderSpec() as provider:
            yield from _provider(provider)
        case ChannelSpec() as channel:
            yield ("type",), f"{channel.type} channels are not built yet"
        case RAGPipelineSpec() as pipeline:
            yield from _pipeline(pipeline)
        case RuntimeConfigSpec() as config:
            yield from _runtime_config(config)
        case GuardrailPolicySpec():
            pass  # what its rules need is said of each agent that names it


def _agent(agent: AgentSpec) -> Iterator[Gap]:
    yield from _models(agent)
    if agent.orchestration.pattern == "supervisor" and not any(tool.type == "agent" for tool in agent.offered):
        reason = "a supervisor without workers: list orchestration.workers, or tools of type: agent"
        yield ("orchestration", "pattern"), reason
    if agent.orchestration.pattern == "swarm" and not agent.orchestration.agents:
        yield ("orchestration", "pattern"), "a swarm without agents: list orchestration.agents, the first one first"
    for index, tool in enumerate(agent.tools):
        if isinstance(tool, McpTool) and not MCP.installed:
            yield ("tools", index, "type"), f"tools of type {tool.type} need an extra: {MCP.missing}; {MCP.advice}"
        config = tool.config if isinstance(tool, BuiltinTool) else None
        if isinstance(config, SqlQueryConfig) and config.is_postgres and not POSTGRES.installed:
            yield ("tools", index, "config", "url"), f"{POSTGRES.missing}; for PostgreSQL {POSTGRES.advice}"
    yield from _memory(agent.memory)
    yield from _guardrails(agent.guardrails)
    yield from _unmasked(agent)


def _guardrails(guardrails: GuardrailsSpec) -> Iterator[Gap]:
    for path, rule in _rules(guardrails):
        if isinstance(rule, TopicFilter | PromptInjection | Grounding) and rule.embeddings is not None:
            yield from _embeddings((*path, "embeddings"), rule.embeddings)


def _unmasked(agent: AgentSpec) -> Iterator[Gap]:
    """A tool that gets what masks stand for is one that the agent has."""
    names = {tool.name for tool in agent.tools}
    if any(tool.type in DISCOVERED for tool in agent.tools):
        return  # what a server offers is known when it is asked
    for path, rule in _rules(agent.guardrails):
        for name in sorted(set(rule.restore_in) - names) if isinstance(rule, PiiDetection) else ():
            yield (*path, "restore_in"), f"the agent has no tool {name!r}"


def _rules(guardrails: GuardrailsSpec) -> Iterator[tuple[Path, Rule]]:
    for stage in STAGES:
        for index, listed in enumerate(guardrails.at(stage)):
            if not isinstance(listed, PolicyUse):
                yield ("guardrails", stage, index), listed
                continue
            # What a shared policy says stands in the policy; here it is where it is named.
            for rule in listed.rules:
                yield ("guardrails", stage, index, "policy"), rule


def _models(agent: AgentSpec) -> Iterator[Gap]:
    model, pattern = agent.model, agent.orchestration.pattern
    for place, candidate in model.everywhere():
        if candidate.provider is not None:
            yield from _provider_type(("model", *place, "provider"), candidate.provider)
            yield from _parameters(("model", *place), candidate)
    asked = {part.role for _, part in agent.orchestration.parts()}
    for role in sorted(set(model.roles) - ROLES.get(pattern, frozenset()) - asked):
        yield ("model", "roles", role), f"the pattern {pattern} never asks for the role {role}"


def _provider_type(path: Path, provider: str) -> Iterator[Gap]:
    extra = PROVIDER_EXTRAS.get(provider)
    if extra is not None and not extra.installed:
        yield path, f"the provider {provider} needs an extra: {extra.missing}; {extra.advice}"


def _parameters(path: Path, candidate: Candidate) -> Iterator[Gap]:
    taken = vendor_of(candidate.provider or "").parameters
    for name in sorted(candidate.parameters.keys() - taken) if taken is not None else ():
        others = f"{', '.join(sorted(taken))} and no other" if taken else "none"
        yield (*path, "parameters", name), f"{candidate.provider} takes {others}"


def _memory(memory: MemorySpec) -> Iterator[Gap]:
    if memory.conversational is not None:
        yield from _conversations(memory.conversational)
    if memory.semantic is not None:
        place = ("memory", "semantic")
        yield from _embeddings((*place, "embeddings"), memory.semantic.embeddings or EmbeddingsSpec())
        yield from _vector_store((*place, "backend"), memory.semantic.backend)
    if memory.episodic is not None:
        yield from _episodes(memory.episodic)


def _episodes(memory: EpisodicMemory) -> Iterator[Gap]:
    place = ("memory", "episodic")
    yield from _embeddings((*place, "embeddings"), memory.embeddings or EmbeddingsSpec())
    if memory.connection is not None and memory.backend == "sqlite":
        yield (*place, "connection"), _NO_CONNECTION
    if memory.strict and memory.backend == "postgres" and not POSTGRES.installed:
        reason = f"{POSTGRES.missing}, and strict forbids the fallback to SQLite; {POSTGRES.advice}"
        yield (*place, "backend"), reason


def _conversations(memory: ConversationalMemory) -> Iterator[Gap]:
    place = ("memory", "conversational")
    if memory.connection is not None and memory.backend == "sqlite":
        yield (*place, "connection"), _NO_CONNECTION
    extra = CONVERSATION_EXTRAS.get(memory.backend)
    if memory.strict and extra is not None and not extra.installed:
        reason = f"{extra.missing}, and strict forbids the fallback to SQLite; {extra.advice}"
        yield (*place, "backend"), reason


def _provider(provider: ProviderSpec) -> Iterator[Gap]:
    yield from _provider_type(("type",), provider.type)


def _pipeline(pipeline: RAGPipelineSpec) -> Iterator[Gap]:
    yield from _embeddings(("embeddings",), pipeline.embeddings)
    yield from _vector_store(("vector_store", "backend"), pipeline.vector_store.backend)


def _embeddings(path: Path, embeddings: EmbeddingsSpec) -> Iterator[Gap]:
    if embeddings.is_built_in:
        return
    if embeddings.provider == "sentence_transformers" and not TORCH.installed:
        yield (*path, "model"), f"{embeddings.model} needs an extra: {TORCH.missing}; {TORCH.advice}"


def _vector_store(path: Path, backend: str) -> Iterator[Gap]:
    extra = STORE_EXTRAS.get(backend)
    if extra is not None and not extra.installed:
        yield path, f"the vector store {backend} needs an extra: {extra.missing}; {extra.advice}"


def _runtime_config(config: RuntimeConfigSpec) -> Iterator[Gap]:
    if config.services.channels:
        yield ("services", "channels"), "channels are not built yet"
