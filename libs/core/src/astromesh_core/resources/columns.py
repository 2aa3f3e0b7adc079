"""The table that `astromesh get` and `kubectl get` print for each kind. Pure: figures and time are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.candidates import Candidate
from astromesh_core.resources.channel import ChannelSpec
from astromesh_core.resources.guardrails import GuardrailPolicySpec
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.resources.vendors import vendor_of

PLURALS: dict[str, str] = {
    "agents": "Agent",
    "agent": "Agent",
    "ag": "Agent",
    "providers": "Provider",
    "provider": "Provider",
    "channels": "Channel",
    "channel": "Channel",
    "ragpipelines": "RAGPipeline",
    "ragpipeline": "RAGPipeline",
    "guardrailpolicies": "GuardrailPolicy",
    "guardrailpolicy": "GuardrailPolicy",
    "runtimeconfigs": "RuntimeConfig",
    "runtimeconfig": "RuntimeConfig",
}
"""The names of a kind on a command line."""


@dataclass(frozen=True)
class Observed:
    """What is known of a resource besides its declaration. `figures` are a pipeline's documents, chunks, …"""

    resource: Resource
    ready: bool
    created: datetime
    now: datetime
    figures: Mapping[str, int] = field(default_factory=dict[str, int])
    model: str = ""
    """Of an agent that names a Provider alone, the model that it leads to."""


Column = tuple[str, Callable[[Observed], str]]


def headings(kind: str) -> list[str]:
    """The headings of a kind's table, as kubectl prints them."""
    return [heading for heading, _ in _COLUMNS[kind]]


def cells(observed: Observed) -> list[str]:
    """One line of the table, under `headings` of the resource's kind."""
    return [cell(observed) for _, cell in _COLUMNS[observed.resource.kind]]


def refused_cells(kind: str, name: str, since: timedelta) -> list[str]:
    """The line of a resource of which no version was ever good: of what it says nothing can be believed."""
    said: dict[Callable[[Observed], str], str] = {_name: name, _ready: "false", _age: age(since)}
    return [said.get(cell, "—") for _, cell in _COLUMNS[kind]]


def age(span: timedelta) -> str:
    """Writes a span as kubectl does: 45s, 12m, 5h, 3d."""
    seconds = max(0, int(span.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _name(observed: Observed) -> str:
    return observed.resource.name


def _ready(observed: Observed) -> str:
    return "true" if observed.ready else "false"


def _age(observed: Observed) -> str:
    return age(observed.now - observed.created)


def _figure(name: str) -> Callable[[Observed], str]:
    return lambda observed: f"{observed.figures.get(name, 0):,}"


def _last_ingested(observed: Observed) -> str:
    seconds = observed.figures.get("last_ingested_unix_seconds", 0)
    return f"{age(timedelta(seconds=observed.now.timestamp() - seconds))} ago" if seconds else "never"


def _of_agent(read: Callable[[AgentSpec], str]) -> Callable[[Observed], str]:
    return lambda observed: read(observed.resource.spec) if isinstance(observed.resource.spec, AgentSpec) else ""


def _of_provider(read: Callable[[ProviderSpec], str]) -> Callable[[Observed], str]:
    return lambda observed: read(observed.resource.spec) if isinstance(observed.resource.spec, ProviderSpec) else ""


def _of_channel(read: Callable[[ChannelSpec], str]) -> Callable[[Observed], str]:
    return lambda observed: read(observed.resource.spec) if isinstance(observed.resource.spec, ChannelSpec) else ""


def _of_pipeline(read: Callable[[RAGPipelineSpec], str]) -> Callable[[Observed], str]:
    return lambda observed: read(observed.resource.spec) if isinstance(observed.resource.spec, RAGPipelineSpec) else ""


def _of_config(read: Callable[[RuntimeConfigSpec], str]) -> Callable[[Observed], str]:
    return lambda observed: (
        read(observed.resource.spec) if isinstance(observed.resource.spec, RuntimeConfigSpec) else ""
    )


def _of_policy(read: Callable[[GuardrailPolicySpec], str]) -> Callable[[Observed], str]:
    return lambda observed: (
        read(observed.resource.spec) if isinstance(observed.resource.spec, GuardrailPolicySpec) else ""
    )


def _provider_of(candidate: Candidate) -> str:
    return candidate.provider or candidate.provider_ref or ""


def _model(observed: Observed) -> str:
    agent = observed.resource.spec
    return (agent.model.first.model or observed.model) if isinstance(agent, AgentSpec) else ""


_COLUMNS: dict[str, tuple[Column, ...]] = {
    "Agent": (
        ("NAME", _name),
        ("DISPLAY NAME", _of_agent(lambda agent: agent.identity.display_name)),
        ("PROVIDER", _of_agent(lambda agent: _provider_of(agent.model.first))),
        ("MODEL", _model),
        ("PATTERN", _of_agent(lambda agent: agent.orchestration.pattern)),
        ("READY", _ready),
        ("AGE", _age),
    ),
    "Provider": (
        ("NAME", _name),
        ("TYPE", _of_provider(lambda provider: provider.type)),
        ("ENDPOINT", _of_provider(lambda provider: provider.endpoint or vendor_of(provider.type).endpoint)),
        ("MODELS", _of_provider(lambda provider: str(len(provider.models)))),
        ("HEALTHY", _ready),
        ("AGE", _age),
    ),
    "Channel": (
        ("NAME", _name),
        ("TYPE", _of_channel(lambda channel: channel.type)),
        ("DEFAULT AGENT", _of_channel(lambda channel: channel.default_agent or "")),
        ("CONNECTED", _ready),
        ("AGE", _age),
    ),
    "RAGPipeline": (
        ("NAME", _name),
        ("STORE", _of_pipeline(lambda pipeline: pipeline.vector_store.backend)),
        ("EMBEDDING MODEL", _of_pipeline(lambda pipeline: pipeline.embeddings.model)),
        ("DOCUMENTS", _figure("documents")),
        ("CHUNKS", _figure("chunks")),
        ("LAST INGESTED", _last_ingested),
        ("AGE", _age),
    ),
    "GuardrailPolicy": (
        ("NAME", _name),
        ("RULES", _of_policy(lambda policy: ", ".join(dict.fromkeys(rule.type for rule in policy.rules)))),
        ("DRY RUN", _of_policy(lambda policy: str(policy.dry_run).lower())),
        ("READY", _ready),
        ("AGE", _age),
    ),
    "RuntimeConfig": (
        ("NAME", _name),
        ("KEYS", _of_config(lambda config: str(len(config.api_keys)))),
        ("READY", _ready),
        ("AGE", _age),
    ),
}
