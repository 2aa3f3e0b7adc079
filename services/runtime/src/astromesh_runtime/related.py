"""Asks memory what of earlier runs bears on a question, and goes on without where the agent says so."""

from __future__ import annotations

from collections.abc import Sequence

from astromesh.v1.memory_pb2 import RecallRelatedRequest, RecallRelatedResponse
from astromesh_core.errors import TemporaryError
from astromesh_core.events.contents import text_content
from astromesh_runtime.memories import is_found_again
from astromesh_runtime.patience import patiently
from astromesh_runtime.scope import RunScope

RECALL_SECONDS = 30.0
SHORT_SECONDS = 5.0
"""Of an agent whose runs go on without: longer than memory is behind the log, shorter than a person's patience."""


def asks_for_related(scope: RunScope) -> bool:
    """Whether the run's agent remembers anything beside its conversations that this run may be told."""
    agent = scope.agent
    if agent.semantic is None and agent.episodic is None:
        return False
    return any(is_found_again(kind, scope.requested) for kind in (agent.semantic, agent.episodic))


async def recall_related(
    scope: RunScope, query: str, known_run_ids: Sequence[str]
) -> tuple[RecallRelatedResponse, str]:
    """What is found, and why there is nothing where memory is away and the run goes on without it.

    `known_run_ids` are the runs of the conversation that the run is told anyway. Raises Unavailable or TimedOut.
    """
    requested = scope.requested
    request = RecallRelatedRequest(
        agent=scope.agent.ref,
        session_key=requested.session_key,
        principal=requested.principal,
        query=text_content(query),
        after_position=scope.after_position,
        known_run_ids=known_run_ids,
    )
    if requested.HasField("user"):
        request.user.CopyFrom(requested.user)
    memory = scope.services.memory
    if not scope.agent.continues_without:
        return await patiently(lambda: memory.RecallRelated(request, timeout=RECALL_SECONDS)), ""
    try:
        return await memory.RecallRelated(request, timeout=SHORT_SECONDS), ""
    except TemporaryError as error:
        return RecallRelatedResponse(), error.message
