"""How an agent's conversations are kept at this moment, for its condition MemoryConnected."""

from __future__ import annotations

import asyncio

from astromesh.v1.memory_pb2 import MemoryStoreHealth
from astromesh_core.conversations import AgentKey
from astromesh_core.errors import AstromeshError
from astromesh_core.resources.extras import CONVERSATION_EXTRAS
from astromesh_memory.conversations import Conversations
from astromesh_memory.placing import target_of

_NO_SESSION = "a" * 26


async def conversations_health(
    conversations: Conversations, agent: AgentKey, seconds: float
) -> MemoryStoreHealth | None:
    """Reads a session that does not exist, and looks whether what was to be written is; None where the agent keeps no
    conversations."""
    backend = ""
    try:
        lane = await conversations.lane_of(agent, seconds)
        memory = conversations.declared().get(agent)
        if lane is None or memory is None:
            return None
        backend = memory.backend
        async with asyncio.timeout(0.9 * seconds):
            await conversations.last(agent, _NO_SESSION, 1, seconds=seconds)
    except TimeoutError:
        said = f"{backend} does not answer"
        return MemoryStoreHealth(kind="conversational", backend=backend, reason="Unavailable", message=said)
    except AstromeshError as error:
        reason = "".join(word.capitalize() for word in error.code.split("-"))
        return MemoryStoreHealth(kind="conversational", backend=backend, reason=reason, message=error.message)
    if lane.trouble:
        # It can be read, and takes nothing: the disk is full.
        return MemoryStoreHealth(
            kind="conversational", backend=backend, reason="Unavailable", message=f"{backend}: {lane.trouble}"
        )
    health = MemoryStoreHealth(kind="conversational", backend=backend, connected=True, reason="Connected")
    if target_of(memory).backend != backend:
        extra = CONVERSATION_EXTRAS[backend]
        health.reason = "FallbackSQLite"
        health.message = f"conversations are kept in SQLite: {extra.missing}; for {backend} {extra.advice}"
    return health
