"""The ways in which MCP messages come over HTTP.

- Protocol 2026-07-28: each POST is a request by itself; closing its stream cancels it.
- Earlier streamable HTTP: each POST is served by itself too, at whichever gateway it arrives. The session id that
  `initialize` gives out is a mark and no state: it says which client numbered a message, so that
  `notifications/cancelled` finds its call. The GET stream tells of changed tools and nothing else.
- HTTP with SSE (2024-11-05): a stream, and POSTs that have to reach the gateway which holds it. A GET by somebody who
  never said `initialize` begins one at the path of streamable HTTP too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any, Final, cast

import orjson
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Send

from astromesh_core.errors import InvalidInput
from astromesh_gateway.bodies import MAX_QUESTION_BYTES, read_bytes
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.mcp.asker import Asker
from astromesh_gateway.mcp.calls import AgentCalls
from astromesh_gateway.mcp.changes import changes
from astromesh_gateway.mcp.paths import MESSAGES
from astromesh_gateway.mcp.server import AgentServer
from astromesh_gateway.sse import EventStream

_SESSION_HEADER: Final = "mcp-session-id"
_VERSION_HEADER: Final = "mcp-protocol-version"
_CHANGED: Final = JSONRPCNotification(jsonrpc="2.0", method="notifications/tools/list_changed")
_CANCELLED: Final = "notifications/cancelled"

Peeked = dict[str, Any]
"""A JSON-RPC message as it came, unchecked; empty for what is none."""


class Transports:
    """The server at its paths. `run` goes on for as long as it serves."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._calls = AgentCalls(gateway)
        self._server = AgentServer(gateway, self._calls)
        self._manager = StreamableHTTPSessionManager(
            app=self._server, stateless=True, max_request_body_size=MAX_QUESTION_BYTES
        )
        self._events = SseServerTransport(MESSAGES, max_request_body_size=MAX_QUESTION_BYTES)

    async def run(self, serving: asyncio.Event, stopping: asyncio.Event) -> None:
        """Serves between the two."""
        async with self._manager.run():
            serving.set()
            await stopping.wait()
        await self._calls.settle()

    async def streamable(self, request: Request, asker: Asker, send: Send) -> None:
        """The one path of streamable HTTP."""
        version = request.headers.get(_VERSION_HEADER)
        if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            replace(asker, closing_cancels=True).enter(request.scope)
            await self._manager.handle_request(request.scope, request.receive, send)
            return
        asker = replace(asker, session=request.headers.get(_SESSION_HEADER, ""))
        match request.method:
            case "POST":
                await self._handshake_post(request, asker, send)
            case "GET" if version is None and not asker.session:
                # A client of streamable HTTP says `initialize` first, and who it is ever after.
                await self.events(request, asker, send)
            case "GET":
                await self._changes(asker)(request.scope, request.receive, send)
            case _:
                # DELETE: nothing is kept of a session.
                await Response(status_code=200)(request.scope, request.receive, send)

    async def events(self, request: Request, asker: Asker, send: Send) -> None:
        """The stream of the oldest transport, until its client leaves or the gateway drains."""
        request.scope["user"] = _owner(asker)
        options = self._server.create_initialization_options()
        async with self._events.connect_sse(request.scope, request.receive, send) as (read, write):
            serving = asyncio.create_task(self._server.run(read, write, options))
            telling = asyncio.create_task(self._tell(write, asker))
            try:
                await asyncio.wait((serving, telling), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (serving, telling):
                    task.cancel()
                await asyncio.wait((serving, telling))

    async def messages(self, request: Request, asker: Asker, send: Send) -> None:
        """A message of a client that holds such a stream here."""
        asker = replace(asker, session=request.query_params.get("session_id", ""))
        body = await read_bytes(request, MAX_QUESTION_BYTES)
        self._call_off(_peek(body), asker)
        asker.enter(request.scope)
        request.scope["user"] = _owner(asker)
        await self._events.handle_post_message(request.scope, _again(body, request.receive), send)

    async def _handshake_post(self, request: Request, asker: Asker, send: Send) -> None:
        body = await read_bytes(request, MAX_QUESTION_BYTES)
        message = _peek(body)
        if self._call_off(message, asker):
            await Response(status_code=202)(request.scope, request.receive, send)
            return
        asker.enter(request.scope)
        if message.get("method") == "initialize":
            send = _with_session(send, secrets.token_hex(16))
        await self._manager.handle_request(request.scope, _again(body, request.receive), send)

    def _call_off(self, message: Peeked, asker: Asker) -> bool:
        """Whether the message calls off a request; if so, that is done."""
        if message.get("method") != _CANCELLED:
            return False
        params = message.get("params")
        request_id = cast("Peeked", params).get("requestId") if isinstance(params, dict) else None
        if not isinstance(request_id, str | int):
            raise InvalidInput(f"{_CANCELLED} names no requestId")
        self._calls.call_off(asker, request_id)
        return True

    def _changes(self, asker: Asker) -> EventStream:
        told = _as_events(changes(self._gateway, asker.caller.namespace))
        return EventStream(told, AsyncExitStack(), {}, draining=self._gateway.draining)

    async def _tell(self, write: Any, asker: Asker) -> None:
        async with aclosing(changes(self._gateway, asker.caller.namespace)) as changed:
            async for _ in changed:
                await write.send(SessionMessage(_CHANGED))


async def _as_events(changed: AsyncGenerator[None]) -> AsyncGenerator[bytes]:
    async with aclosing(changed):
        async for _ in changed:
            yield b"event: message\ndata: %s\n\n" % _CHANGED.model_dump_json(by_alias=True, exclude_none=True).encode()


def _peek(body: bytes) -> Peeked:
    """What the message says of itself; the SDK says what is wrong with it."""
    try:
        message: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast("Peeked", message) if isinstance(message, dict) else {}


def _again(body: bytes, receive: Receive) -> Receive:
    """Hands a body out that was read already, then what comes after it."""
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return given.pop() if given else await receive()

    return receive_again


def _with_session(send: Send, session: str) -> Send:
    async def send_with_session(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 400:
            MutableHeaders(scope=message)[_SESSION_HEADER] = session
        await send(message)

    return send_with_session


def _owner(asker: Asker) -> AuthenticatedUser:
    """Whose stream it is: nobody else may send messages into it."""
    whose = f"{asker.caller.namespace}/{asker.caller.principal}"
    return AuthenticatedUser(AccessToken(token="-", client_id=whose, scopes=[]))
