"""What agents remember beside their conversations, as JSON."""

from __future__ import annotations

from typing_extensions import TypedDict

from astromesh.v1.episodes_pb2 import Episode
from astromesh.v1.values_pb2 import Passage
from astromesh_core.events.runs import STATUS_NAMES
from astromesh_gateway.replies import NANOS, FeedbackReply, feedback_reply
from astromesh_gateway.shown import moment, shown


class MemoryReply(TypedDict):
    """Something that was said in an earlier run; `id` is the run's event that it comes from."""

    id: str
    run_id: str
    text: str
    score: float


class EpisodeToolReply(TypedDict):
    """How often a run called a tool, and how often that went wrong."""

    name: str
    calls: int
    failures: int


class EpisodeReply(TypedDict):
    """What happened in an earlier run."""

    run_id: str
    goal: str
    status: str
    outcome: str
    tools: list[EpisodeToolReply]
    cost: float
    input_tokens: int
    output_tokens: int
    duration_ms: float
    ended_at: str
    feedback: list[FeedbackReply]
    score: float


def memory_reply(passage: Passage) -> MemoryReply:
    """A piece of what was said."""
    return MemoryReply(id=passage.id, run_id=passage.source, text=shown(passage.text), score=passage.score)


def episode_reply(episode: Episode) -> EpisodeReply:
    """A run in short."""
    return EpisodeReply(
        run_id=episode.run_id,
        goal=shown(episode.goal),
        status=STATUS_NAMES.get(episode.status, ""),
        outcome=shown(episode.outcome),
        tools=[EpisodeToolReply(name=it.name, calls=it.calls, failures=it.failures) for it in episode.tools],
        cost=episode.cost_nanos / NANOS,
        input_tokens=episode.input_tokens,
        output_tokens=episode.output_tokens,
        duration_ms=episode.duration_nano / 1e6,
        ended_at=moment(episode.ended_unix_nano),
        feedback=[feedback_reply(said) for said in episode.feedback],
        score=episode.score,
    )
