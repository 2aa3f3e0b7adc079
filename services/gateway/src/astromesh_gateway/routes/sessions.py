"""/v1/memory: what sessions and persons left with agents, and forgetting it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from typing_extensions import TypedDict

from astromesh_gateway.access import TheGateway, User, Viewer
from astromesh_gateway.documentation import errors
from astromesh_gateway.memory.sessions import MAX_USER_CHARACTERS, Sessions
from astromesh_gateway.memory.transcripts import (
    ExportReply,
    SessionReply,
    TurnReply,
    export_reply,
    session_reply,
    turn_reply,
)

router = APIRouter(prefix="/v1/memory", tags=["memory"])

Limit = Annotated[int, Query(ge=1, le=1000)]
Person = Annotated[str, Path(max_length=MAX_USER_CHARACTERS, description="As it was named in runs.")]


class HistoryReply(TypedDict):
    """Messages, oldest first; `next_page_token` is empty on the last page."""

    agent: str
    session_id: str
    history: list[TurnReply]
    next_page_token: str


class SessionsReply(TypedDict):
    """Sessions, the last used first; `next_page_token` is empty on the last page."""

    agent: str
    sessions: list[SessionReply]
    next_page_token: str


class PersonReply(TypedDict):
    """All that agents remember of a person, session by session."""

    user: str
    sessions: list[ExportReply]


class ForgottenReply(TypedDict):
    """In how many sessions something of a person was forgotten."""

    user: str
    sessions: int


@router.get("/{agent}/sessions", summary="An agent's sessions", responses=errors(404, 422, 503))
async def list_sessions(
    agent: str, caller: Viewer, gateway: TheGateway, limit: Limit = 50, page_token: str = ""
) -> SessionsReply:
    """The sessions that remember something."""
    sessions, token = await Sessions(gateway, caller).listed(agent, limit, page_token)
    return SessionsReply(agent=agent, sessions=[session_reply(it) for it in sessions], next_page_token=token)


@router.get("/{agent}/history/{session}", summary="A session's history", responses=errors(404, 422, 503))
async def get_history(
    agent: str, session: str, caller: Viewer, gateway: TheGateway, limit: Limit = 50, page_token: str = ""
) -> HistoryReply:
    """What the session remembers. Empty for one that nobody has used."""
    told, token = await Sessions(gateway, caller).history(agent, session, limit, page_token)
    turns = [turn_reply(it) for it in told]
    return HistoryReply(agent=agent, session_id=session, history=turns, next_page_token=token)


@router.get("/{agent}/sessions/{session}/export", summary="A session whole", responses=errors(404, 503))
async def export_session(agent: str, session: str, caller: Viewer, gateway: TheGateway) -> ExportReply:
    """All that is remembered of the session: its history, its summary, and what was made of it."""
    return export_reply(await Sessions(gateway, caller).exported(agent, session))


@router.delete(
    "/{agent}/history/{session}",
    status_code=204,
    response_class=Response,
    summary="Forget a session",
    responses=errors(404, 503, 504),
)
async def clear_history(agent: str, session: str, caller: User, gateway: TheGateway) -> None:
    """Forgets everything that the session remembers, once its runs at work have ended."""
    await Sessions(gateway, caller).clear(agent, session)


@router.get("/users/{user}/export", summary="A person's memories", responses=errors(422, 503))
async def export_user(user: Person, caller: Viewer, gateway: TheGateway) -> PersonReply:
    """All that agents of the namespace remember of the person: their own turns, and what was made of them."""
    sessions = [export_reply(it) async for it in Sessions(gateway, caller).of_user(user)]
    return PersonReply(user=user, sessions=sessions)


@router.delete("/users/{user}", summary="Forget a person", responses=errors(422, 503, 504))
async def forget_user(user: Person, caller: User, gateway: TheGateway) -> ForgottenReply:
    """Forgets the person's turns in every session of every agent, and whatever was made of them."""
    return ForgottenReply(user=user, sessions=await Sessions(gateway, caller).forget_user(user))
