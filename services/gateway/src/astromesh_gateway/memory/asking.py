"""Asks memory what an agent remembers beside its conversations, and has it made again from the log."""

from __future__ import annotations

from astromesh.v1.memory_pb2 import (
    RebuildMemoryRequest,
    RebuildMemoryResponse,
    RecallRelatedRequest,
    RecallRelatedResponse,
)
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import random_session, session_key
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.gateway import Gateway

REBUILD_SECONDS = 600.0
MAX_QUERY_CHARACTERS = 10_000


async def search(
    gateway: Gateway, caller: Caller, agent: str, query: str, *, session: str = "", user: str = ""
) -> RecallRelatedResponse:
    """What a run of the caller with this question, session and user would be told of earlier ones.

    Raises NotFound, InvalidInput, Unavailable where a store is away.
    """
    if not query.strip() or len(query) > MAX_QUERY_CHARACTERS:
        raise InvalidInput(f"query must have 1 to {MAX_QUERY_CHARACTERS:,} characters")
    record = gateway.directory.record("Agent", caller.namespace, agent)
    key = session_key(gateway.mesh_key, caller.namespace, agent, session or random_session())
    request = RecallRelatedRequest(
        agent=record.ref, session_key=key, principal=caller.principal, query=text_content(query)
    )
    if user:
        request.user.text = user
    return await gateway.services.memory.RecallRelated(request)


async def rebuild(gateway: Gateway, caller: Caller, agent: str) -> RebuildMemoryResponse:
    """Returns when all that the agent remembers is again what the log says. Raises NotFound, Unavailable."""
    gateway.directory.record("Agent", caller.namespace, agent)
    request = RebuildMemoryRequest(namespace=caller.namespace, agent=agent)
    return await gateway.services.memory.RebuildMemory(request, timeout=REBUILD_SECONDS)
