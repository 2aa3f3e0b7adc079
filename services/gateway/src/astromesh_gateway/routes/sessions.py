"""/v1/memory: what a session remembers, and forgetting it."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Response
from typing_extensions import TypedDict

from astromesh.v1.memory_pb2 import ListHistoryRequest
from astromesh.v1.signal_pb2 import ClearSessionSignal, Signal
from astromesh.v1.values_pb2 import Role
from astromesh_core.bus.subjects import session_aggregate
from astromesh_core.errors import TimedOut
from astromesh_core.events.identity import session_key
from astromesh_core.rpc.identity import Caller
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.access import TheGateway, User, Viewer
from astromesh_gateway.documentation import errors
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.replies import moment, shown

router = APIRouter(prefix="/v1/memory", tags=["memory"])

CLEAR_SECONDS = 10.0
"""How long a caller waits until a session is forgotten: it queues with the session's runs."""

_POLL_SECONDS = 0.05


class TurnReply(TypedDict):
    """One remembered message."""

    run_id: str
    time: str
    role: str
    content: str


class HistoryReply(TypedDict):
    """Messages, oldest first; `next_page_token` is empty on the last page."""

    agent: str
    session_id: str
    history: list[TurnReply]
    next_page_token: str


@router.get("/{agent}/history/{session}", summary="A session's history", responses=errors(404, 422, 503))
async def get_history(
    agent: str,
    session: str,
    caller: Viewer,
    gateway: TheGateway,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    page_token: str = "",
) -> HistoryReply:
    """What the session remembers. Empty for one that nobody has used."""
    gateway.directory.record("Agent", caller.namespace, agent)
    key = session_key(gateway.mesh_key, caller.namespace, agent, session)
    request = ListHistoryRequest(
        namespace=caller.namespace, agent=agent, session_key=key, page_size=limit, page_token=page_token
    )
    response = await gateway.services.memory.ListHistory(request)
    for entry in response.entries:
        await gateway.bus.values.resolve_all(entry)
    turns = [
        TurnReply(
            run_id=entry.run_id,
            time=moment(entry.time_unix_nano),
            role=Role.Name(entry.message.role).removeprefix("ROLE_").lower(),
            content=shown(entry.message.content),
        )
        for entry in response.entries
    ]
    return HistoryReply(agent=agent, session_id=session, history=turns, next_page_token=response.next_page_token)


@router.delete(
    "/{agent}/history/{session}",
    status_code=204,
    response_class=Response,
    summary="Forget a session",
    responses=errors(404, 503, 504),
)
async def clear_history(agent: str, session: str, caller: User, gateway: TheGateway) -> None:
    """Forgets everything that the session remembers, once its runs at work have ended."""
    gateway.directory.record("Agent", caller.namespace, agent)
    key = session_key(gateway.mesh_key, caller.namespace, agent, session)
    signal = Signal(
        id=secrets.token_hex(16),
        aggregate_id=key,
        time_unix_nano=time.time_ns(),
        principal=caller.principal,
        traceparent=current_traceparent(),
        clear_session=ClearSessionSignal(agent=agent),
    )
    try:
        async with asyncio.timeout(CLEAR_SECONDS):
            cleared_at = await _cleared(gateway, caller, key, signal)
            await _forgotten(gateway, caller, agent, key, cleared_at)
    except TimeoutError:
        raise TimedOut("the session has not been cleared yet; it will be, after its runs at work") from None


async def _cleared(gateway: Gateway, caller: Caller, key: str, signal: Signal) -> int:
    """Sends the signal and answers when the session's log shows it: the time of the event."""
    aggregate = session_aggregate(caller.namespace, key)
    async with aclosing(gateway.bus.log.follow(aggregate)) as events:
        await gateway.bus.signals.send(caller.namespace, signal)
        async for event in events:
            if event.envelope.signal_id == signal.id:
                return event.envelope.time_unix_nano
    raise TimedOut("the session's log ended")


async def _forgotten(gateway: Gateway, caller: Caller, agent: str, key: str, cleared_at: int) -> None:
    """Returns once memory shows nothing from before: it applies the log a moment later."""
    request = ListHistoryRequest(namespace=caller.namespace, agent=agent, session_key=key, page_size=1)
    while True:
        entries = (await gateway.services.memory.ListHistory(request)).entries
        if all(entry.time_unix_nano > cleared_at for entry in entries):
            return
        await asyncio.sleep(_POLL_SECONDS)
