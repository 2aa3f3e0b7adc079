"""/v1/memory: what agents remember beside their conversations, and making it again. Sessions stand in `sessions`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from astromesh_gateway.access import Admin, TheGateway, User
from astromesh_gateway.documentation import errors
from astromesh_gateway.memory.asking import MAX_QUERY_CHARACTERS, rebuild, search
from astromesh_gateway.memory.replies import EpisodeReply, MemoryReply, episode_reply, memory_reply

router = APIRouter(prefix="/v1/memory", tags=["memory"])


class RelatedQuery(BaseModel):
    """A question, and who asks it: what is found is what a run with these would be told."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)
    session_id: str = Field(default="", max_length=512)
    user: str = Field(default="", max_length=512, description="As it was named in runs.")
    top_k: int = Field(default=100, ge=1, le=100, description="No more than the agent recalls at most.")


class SemanticReply(TypedDict):
    """What was said, best first."""

    agent: str
    query: str
    results: list[MemoryReply]


class EpisodesReply(TypedDict):
    """What happened, best first."""

    agent: str
    query: str
    episodes: list[EpisodeReply]


class RebuiltReply(TypedDict):
    """How much is remembered: turns of conversations, runs by what was said, runs by what happened."""

    agent: str
    turns: int
    semantic: int
    episodic: int


@router.get("/{agent}/semantic", summary="Search what was said", responses=errors(404, 422, 503))
async def search_semantic(
    agent: str, caller: User, gateway: TheGateway, asked: Annotated[RelatedQuery, Query()]
) -> SemanticReply:
    """What of earlier runs the agent would be told by its semantic memory. Nothing where it declares none."""
    found = await search(gateway, caller, agent, asked.query, session=asked.session_id, user=asked.user)
    results = [memory_reply(passage) for passage in found.memories[: asked.top_k]]
    return SemanticReply(agent=agent, query=asked.query, results=results)


@router.get("/{agent}/episodes", summary="Search what happened", responses=errors(404, 422, 503))
async def search_episodes(
    agent: str, caller: User, gateway: TheGateway, asked: Annotated[RelatedQuery, Query()]
) -> EpisodesReply:
    """What of earlier runs the agent would be told by its episodic memory. Nothing where it declares none."""
    found = await search(gateway, caller, agent, asked.query, session=asked.session_id, user=asked.user)
    episodes = [episode_reply(episode) for episode in found.episodes[: asked.top_k]]
    return EpisodesReply(agent=agent, query=asked.query, episodes=episodes)


@router.post("/{agent}/rebuild", summary="Make an agent's memory again", responses=errors(404, 503, 504))
async def rebuild_memory(agent: str, caller: Admin, gateway: TheGateway) -> RebuiltReply:
    """Drops what the agent remembers and makes it again from the log. What was cleared, expired or erased stays so."""
    rebuilt = await rebuild(gateway, caller, agent)
    return RebuiltReply(agent=agent, turns=rebuilt.turns, semantic=rebuilt.semantic, episodic=rebuilt.episodic)
