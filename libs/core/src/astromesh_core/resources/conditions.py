"""The conditions that are observed of each kind, and the rule that makes Ready of them. Observing is the services'.

Ready is False as soon as one condition is False, else Unknown as soon as one is Unknown or missing, else True.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from astromesh_core.resources.references import ResourceKey

Status = Literal["True", "False", "Unknown"]

READY = "Ready"
NOT_SUPPORTED = "NotSupported"
SERVICE_DISABLED = "ServiceDisabled"
TOOLS_CONNECTED = "ToolsConnected"
"""Of agents alone whom others offer tools, such as MCP servers."""
INVALID = "Invalid"

CONFIG_FOLDER = ResourceKey("ConfigFolder", "default", "config")
"""Stands in KV `status` alone, for what is wrong with files and belongs to no resource: a text that is no YAML, a kind
that does not exist, a name that cannot be read. It goes when they are mended."""

CONDITION_TYPES: dict[str, tuple[str, ...]] = {
    "Agent": ("ProviderReachable", "MemoryConnected", "ToolsRegistered", "GuardrailsLoaded"),
    "Provider": ("EndpointReachable", "ModelsAvailable", "CircuitClosed"),
    "Channel": ("WebhookVerified", "CredentialsValid", "AgentAvailable"),
    "RAGPipeline": ("StoreConnected", "EmbeddingModelLoaded", "IngestionComplete", "IndexHealthy"),
    "GuardrailPolicy": (),
    "RuntimeConfig": (),
}
"""What is observed of a kind, besides Ready."""


@dataclass(frozen=True)
class Condition:
    """One thing that was observed. `reason` is one CamelCase word; `message` says it to a person."""

    type: str
    status: Status
    reason: str
    message: str = ""
    last_transition_time: datetime | None = None


def derive_ready(kind: str, conditions: Iterable[Condition], now: datetime) -> Condition:
    """Makes Ready of a resource's observed conditions. Those of types that the kind does not have count too.

    Raises KeyError for an unknown kind.
    """
    observed = {condition.type: condition for condition in conditions if condition.type != READY}
    failing = [condition for condition in observed.values() if condition.status == "False"]
    if failing:
        message = "; ".join(f"{condition.type}: {condition.message or condition.reason}" for condition in failing)
        return Condition(READY, "False", failing[0].reason, message, now)
    waiting = [name for name in CONDITION_TYPES[kind] if name not in observed or observed[name].status == "Unknown"]
    waiting += [name for name, condition in observed.items() if condition.status == "Unknown" and name not in waiting]
    if waiting:
        return Condition(READY, "Unknown", "Waiting", f"not observed yet: {', '.join(waiting)}", now)
    return Condition(READY, "True", "AllConditionsTrue", "", now)


def not_supported(messages: Iterable[str], now: datetime) -> Condition:
    """Makes the Ready of a resource that asks for what this release does not have; `messages` name file and field."""
    return Condition(READY, "False", NOT_SUPPORTED, "; ".join(messages), now)


def switched_off(service: str) -> str:
    """Says why a service does not answer that nobody wants to run, and where that is written."""
    return f"the {service} service is switched off: spec.services.{service} is false in runtime.yaml"


def merge(previous: Iterable[Condition], observed: Iterable[Condition]) -> list[Condition]:
    """Puts new conditions in place of old ones of their type. An unchanged status keeps its transition time."""
    merged = {condition.type: condition for condition in previous}
    for condition in observed:
        old = merged.get(condition.type)
        if old is not None and old.status == condition.status and old.last_transition_time is not None:
            merged[condition.type] = replace(condition, last_transition_time=old.last_transition_time)
        else:
            merged[condition.type] = condition
    return list(merged.values())
