"""Fields and values of earlier versions that Astromesh does not have: each is refused with its reason.

Paths are canonical and leave out list positions. What is planned but not built stands in `features`.
"""

from __future__ import annotations

_PATTERN = "belongs to a pattern that does not exist here"

FIELDS: dict[str, dict[str, str]] = {
    "Agent": {
        "spec.chain": "chains of agents do not exist; call one agent after the other from your application",
        "spec.program": "the glyph pattern does not exist",
        "spec.prefetch": "prefetching does not exist; declare a tool with effect: read, or knowledge",
        "spec.channels": "channels are resources of their own: write config/channels.yaml or kind: Channel",
        "spec.skills": "agent cards do not exist",
        "spec.observability": "telemetry is the mesh's: write spec.telemetry in runtime.yaml",
        "spec.knowledge.bundle": "bundles do not exist; name a pipeline",
        "spec.model.routing.health_check_interval": "health checks belong to the Provider: spec.healthCheck",
        "spec.prompts.context": "a prompt for each turn does not exist; write it into prompts.system",
        "spec.prompts.templates": "named templates do not exist; write prompts.system",
        "spec.orchestration.role_map": "the roles of a pattern are its own: name their models in spec.model.roles",
        "spec.orchestration.narrate": _PATTERN,
        "spec.orchestration.max_repairs": _PATTERN,
        "spec.orchestration.max_tool_result_tokens": "belongs to each tool: write max_result_tokens there",
        "spec.tools.confirm": "asking a human before a call is written approval: always, or when: with an expression",
    },
    "Provider": {
        "spec.endpoint_name": "is not read; metadata.name names the provider",
        "spec.contract": "provider contracts do not exist",
    },
    "ProviderConfig": {
        "spec.routing.default_strategy": "the strategy is the agent's: write spec.model.routing.strategy in the agent",
        "spec.routing.fallback_enabled": "falling back is the agent's: list the models in spec.model.fallback, or none",
    },
    "RuntimeConfig": {
        "spec.peers": "peers are found through the message bus; there is nothing to list",
        "spec.mesh": "gossip between nodes does not exist; replicas meet on the message bus",
    },
}
"""Why a field of a kind is refused."""

_OWN_CALL = "write a Python function and declare it with type: internal"

VALUES: dict[str, dict[str, str]] = {
    "spec.orchestration.pattern": {"glyph": "the glyph pattern does not exist"},
    "spec.defaults.orchestration.pattern": {"glyph": "the glyph pattern does not exist"},
    "spec.memory.conversational.backend": {"in_memory": "memory that forgets does not exist; use sqlite"},
    "spec.tools": {
        "a2a": "agents elsewhere as tools do not exist; an agent of this mesh is a tool of type: agent",
        "client": "tools that the caller executes do not exist",
        "integration": f"ready-made integrations do not exist; {_OWN_CALL}",
        "api": f"tenant APIs do not exist; {_OWN_CALL}",
    },
}
"""Why a value is refused at a place: the value of a choice, or the `type` of a list's items."""
