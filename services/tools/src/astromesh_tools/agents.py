"""Tools that are agents, as the catalogue lists them. Running one is the runtime's: it is a run of its own."""

from __future__ import annotations

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_IDEMPOTENT, Failure, ToolResult, ToolSpec
from astromesh_core.agent_calls import PARAMETERS_JSON
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.agent_tools import AgentTool as Declared
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.tool import Invocation


class AgentTool:
    """One agent, as another one's tool. A call with the same key is the same run, so it changes nothing more."""

    def __init__(self, declared: Declared) -> None:
        self.spec = ToolSpec(
            name=declared.name,
            description=declared.description or f"Asks the agent {declared.agent}, and returns its answer.",
            parameters_json=PARAMETERS_JSON,
            effect=TOOL_EFFECT_KIND_IDEMPOTENT,
            timeout_ms=round((declared.timeout_seconds or 0) * 1000),
            type="agent",
            agent=declared.agent,
        )

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """Refuses: whoever asks for an agent admits a run of it."""
        del invocation
        return failure_of(InvalidInput(f"{self.spec.name} is an agent: run {self.spec.agent}, it is no function"))
