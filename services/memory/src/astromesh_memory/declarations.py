"""What agents declare of their conversations now: told as it changes, and looked up where it was not told yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from pydantic import ValidationError

from astromesh_core.bus.resource_store import ResourceStore
from astromesh_core.conversations import AgentKey
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_memory import ConversationalMemory
from astromesh_core.telemetry.logs import logger

_log = logger(__name__)


class AgentDeclarations:
    """The agents' resources, as far as conversations are concerned."""

    def __init__(self, resources: ResourceStore) -> None:
        self._resources = resources
        self.synced = asyncio.Event()
        """Set once every agent that stood at the start is told of."""

    async def of(self, agent: AgentKey) -> ConversationalMemory | None:
        """What the agent declares at this moment."""
        record = await self._resources.get("Agent", *agent)
        return None if record is None else _memory(agent, record.spec_json)

    async def watch(self, tell: Callable[[AgentKey, ConversationalMemory | None], None]) -> None:
        """Tells what every agent declares, and each change, until it is cancelled.

        Of an agent that is removed nothing is told: what it remembers stays where it is.
        """
        async with aclosing(self._resources.watch(self.synced)) as changes:
            async for change in changes:
                if change.kind == "Agent" and change.record is not None:
                    agent = AgentKey(change.namespace, change.name)
                    tell(agent, _memory(agent, change.record.spec_json))


def _memory(agent: AgentKey, spec_json: str) -> ConversationalMemory | None:
    try:
        return AgentSpec.from_json(spec_json).memory.conversational
    except ValidationError as error:
        _log.warning("an agent cannot be read", agent="/".join(agent), reason=str(error))
        return None
