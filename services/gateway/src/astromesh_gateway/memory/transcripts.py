"""Sessions as JSON."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from astromesh.v1.sessions_pb2 import SessionExport, SessionMessage, SessionSummary
from astromesh.v1.values_pb2 import Role
from astromesh_gateway.memory.replies import EpisodeReply, MemoryReply, episode_reply, memory_reply
from astromesh_gateway.replies import moment, shown


class CalledReply(TypedDict):
    """A tool call; its result is the message of the role `tool` with the same id."""

    id: str
    name: str
    arguments: str


class TurnReply(TypedDict):
    """One remembered message. A tool's names the tool and the call that it answers."""

    run_id: str
    time: str
    role: str
    content: str
    tool_calls: NotRequired[list[CalledReply]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


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
    message = told.message
    reply = TurnReply(
        run_id=told.run_id,
        time=moment(told.time_unix_nano),
        role=Role.Name(message.role).removeprefix("ROLE_").lower(),
        content=shown(message.content),
    )
    if message.tool_calls:
        reply["tool_calls"] = [
            CalledReply(id=call.id, name=call.name, arguments=shown(call.arguments)) for call in message.tool_calls
        ]
    if message.tool_call_id:
        reply["tool_call_id"], reply["name"] = message.tool_call_id, message.name
    return reply


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
