"""Sessions as JSON."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from astromesh.v1.sessions_pb2 import SessionExport, SessionMessage, SessionSummary
from astromesh_gateway.memory.replies import EpisodeReply, MemoryReply, episode_reply, memory_reply
from astromesh_gateway.messages import MessageReply, message_reply
from astromesh_gateway.shown import moment


class TurnReply(MessageReply):
    """One remembered message."""

    run_id: str
    time: str


class SessionReply(TypedDict):
    """A session that remembers something. `session_id` is empty where nobody named it."""

    agent: str
    session_id: str
    turns: int
    first_used: str
    last_used: str


class ExportReply(SessionReply):
    """All that is remembered of a session, or of a person in it."""

    history: list[TurnReply]
    summary: NotRequired[str]
    semantic: list[MemoryReply]
    episodes: list[EpisodeReply]


def turn_reply(told: SessionMessage) -> TurnReply:
    """A message as it is remembered. Its contents have to be fetched before."""
    return TurnReply(run_id=told.run_id, time=moment(told.time_unix_nano), **message_reply(told.message))


def session_reply(session: SessionSummary) -> SessionReply:
    """A session in short."""
    return SessionReply(
        agent=session.agent,
        session_id=session.session_id,
        turns=session.turns,
        first_used=moment(session.first_unix_nano) if session.first_unix_nano else "",
        last_used=moment(session.last_unix_nano) if session.last_unix_nano else "",
    )


def export_reply(export: SessionExport) -> ExportReply:
    """A session whole."""
    reply = ExportReply(
        **session_reply(export.session),
        history=[turn_reply(told) for told in export.history],
        semantic=[memory_reply(passage) for passage in export.memories],
        episodes=[episode_reply(episode) for episode in export.episodes],
    )
    if export.summary:
        reply["summary"] = export.summary
    return reply
