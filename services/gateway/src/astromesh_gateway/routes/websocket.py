"""WS /v1/ws/agent/{name}: several runs one after another on a socket, each with its frames.

The client sends {query, images?, output_schema?, session_id?, user?, context?, cancel_on_disconnect?}, or
{type: "cancel"} for the run at work.
It gets the frames token, reasoning, restart, tool_call, tool_progress, tool_result, done, error: the messages of
`progress` with their `type`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal

import orjson
from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import Field, JsonValue
from starlette.datastructures import Headers

from astromesh.v1.run_events_pb2 import SURFACE_WEBSOCKET
from astromesh_core.errors import AstromeshError, RateLimited
from astromesh_core.events.identity import random_session
from astromesh_core.rpc.identity import Caller, enter_caller
from astromesh_core.telemetry.traceparent import enter_trace
from astromesh_gateway.access import gateway_of, trace_of
from astromesh_gateway.admission import AskedRun, PreparedRun
from astromesh_gateway.auth import KEY_HEADER, require
from astromesh_gateway.bodies import RunBody, images_of, parse_question, schema_text
from astromesh_gateway.failures import problem_document
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.progress import Update
from astromesh_gateway.routes.running import SeenText, updates
from astromesh_gateway.stored_runs import StoredRuns

router = APIRouter()

_PATH = "/v1/ws/agent/{name}"

REFUSED = 4401
"""Close code where the key is missing, wrong or too weak."""

MAX_WAITING = 32
"""Questions that one socket may have waiting."""

_FRAMES = frozenset({"token", "reasoning", "restart", "tool_call", "tool_progress", "tool_result", "done", "error"})


class Frame(RunBody):
    """What a client sends."""

    type: Literal["run", "cancel"] = "run"
    query: str = Field(default="")


@router.websocket(_PATH)
async def agent_socket(socket: WebSocket, name: str) -> None:
    """Serves one socket until either side closes it."""
    await socket.accept()
    gateway = gateway_of(socket)
    try:
        caller = _caller(gateway, socket)
    except AstromeshError as error:
        await _send(socket, _refusal(error))
        await socket.close(REFUSED)
        return
    conversation = _Conversation(gateway, socket, caller, name)
    with suppress(WebSocketDisconnect):
        await conversation.serve()


@router.get(_PATH, include_in_schema=False)
async def plain_request() -> None:
    """Whoever asks without upgrading is told how: 426 (RFC 9110, 15.5.22)."""
    raise HTTPException(
        426,
        "this path speaks WebSocket (RFC 6455) alone; POST /v1/agents/{name}/run asks without one",
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    )


class _Conversation:
    """One socket: a reader that takes frames in, and one run at a time."""

    def __init__(self, gateway: Gateway, socket: WebSocket, caller: Caller, agent: str) -> None:
        self._gateway = gateway
        self._socket = socket
        self._caller = caller
        self._agent = agent
        self._waiting: asyncio.Queue[AskedRun] = asyncio.Queue()
        # Runs of a socket that names no session belong together: they share one of the socket's own.
        self._session = socket.query_params.get("session_id", "") or random_session()
        self._cancels_on_leave = socket.query_params.get("cancel_on_disconnect") == "true"
        self._running: PreparedRun | None = None
        self._seen = SeenText()

    async def serve(self) -> None:
        """Runs what is asked, in order, until the client leaves."""
        reading = asyncio.create_task(self._read())
        working = asyncio.create_task(self._work())
        try:
            await asyncio.wait((reading, working), return_when=asyncio.FIRST_COMPLETED)
            if self._running is not None:
                self._gateway.departures.left(self._running, self._seen.text)
        finally:
            for task in (reading, working):
                task.cancel()
            await asyncio.wait((reading, working))
        for task in (reading, working):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                await self._take(message.get("text") or message.get("bytes") or b"")
            except AstromeshError as error:
                await _send(self._socket, _refusal(error))

    async def _take(self, data: str | bytes) -> None:
        frame = parse_question(data, Frame)
        if frame.type == "cancel":
            if self._running is not None:
                await StoredRuns(self._gateway, self._caller).cancel(self._running.run_id, "cancelled by the client")
            return
        if self._waiting.qsize() >= MAX_WAITING:
            raise RateLimited(f"{MAX_WAITING} questions wait on this socket already", retry_after=1.0)
        self._waiting.put_nowait(self._asked(frame))

    async def _work(self) -> None:
        while True:
            asked = await self._waiting.get()
            try:
                await self._run(asked)
            except AstromeshError as error:
                await _send(self._socket, _refusal(error))
            finally:
                self._running = None

    async def _run(self, asked: AskedRun) -> None:
        prepared = self._gateway.admission.prepare(asked)
        self._running, self._seen = prepared, SeenText()
        async with self._gateway.following.streamed(prepared) as parts:
            async for update in updates(parts, prepared.run_id, self._seen):
                if update.name in _FRAMES:
                    await _send(self._socket, update)

    def _asked(self, frame: Frame) -> AskedRun:
        traceparent = trace_of(self._socket, self._gateway)
        enter_caller(self._caller)
        enter_trace(traceparent)
        return AskedRun(
            caller=self._caller,
            agent=self._agent,
            query=frame.query,
            session_id=frame.session_id or self._session,
            user=frame.user,
            context=frame.context,
            images=images_of(frame),
            output_schema_json=schema_text(frame.output_schema),
            surface=SURFACE_WEBSOCKET,
            cancel_on_disconnect=frame.cancel_on_disconnect or self._cancels_on_leave,
            traceparent=traceparent,
        )


def _caller(gateway: Gateway, socket: WebSocket) -> Caller:
    headers = dict(Headers(raw=socket.headers.raw))
    # Browsers cannot set headers on a socket.
    if key := socket.query_params.get("api_key"):
        headers[KEY_HEADER] = key
    caller = gateway.authenticator.caller(headers)
    require(caller, "user")
    return caller


def _refusal(error: AstromeshError) -> Update:
    return Update("error", problem_document(error))


async def _send(socket: WebSocket, update: Update) -> None:
    frame: dict[str, JsonValue] = {"type": update.name, **update.data}
    if update.name == "error":
        # A problem document's own `type` gives way to the frame's.
        frame = {
            **update.data,
            "problem": update.data.get("type"),
            "type": "error",
            "message": update.data.get("detail"),
        }
    elif update.name in ("token", "reasoning"):
        frame["content"] = frame["text"]
    await socket.send_text(orjson.dumps(frame).decode())
