"""Between a client on this process's standard streams and a mesh's `/mcp`: every message is passed on as it is, and
what comes back. What the messages mean is the gateway's.

A client of protocol 2026-07-28 says its version with every request; closing the request's stream cancels it. An earlier
one says `initialize`, then has a session and a stream of notifications.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Final, cast

import httpx
import httpx_sse
import orjson

from astromesh_cli.client.mesh import Target

if TYPE_CHECKING:
    from pydantic import JsonValue

PATH: Final = "/mcp"

_CONNECT_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 60.0
"""The gateway says at least that it is alive every 15 seconds."""
_AGAIN_SECONDS: Final = 2.0
_LAST_SECONDS: Final = 2.0
"""How long answers may still come once the client has closed its end."""

_UNREACHABLE, _NOT_JSON = -32000, -32700
_VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:-]+")
_CHANGED: Final = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'

Message = dict[str, "JsonValue"]
Write = Callable[[bytes], None]
"""Hands the client one message."""


async def relay(target: Target, lines: AsyncIterator[bytes], write: Write) -> None:
    """Serves a client until it closes its end. Each line is a message."""
    # A mesh is mostly on this machine: a proxy of the environment would hide it.
    is_here = target.url.startswith(("http://127.", "http://localhost", "http://[::1]"))
    limits = httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
    async with httpx.AsyncClient(
        base_url=target.url, headers=target.headers, timeout=limits, trust_env=not is_here, verify=not is_here
    ) as http:
        passing = Relay(http, write)
        try:
            async for line in lines:
                passing.take(line)
            await passing.finish()
        finally:
            await passing.close()


class Relay:
    """One client's messages on their way."""

    def __init__(self, http: httpx.AsyncClient, write: Write) -> None:
        self._http = http
        self._write = write
        self._requests: dict[str | int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._session: dict[str, str] = {}
        """Headers of a client that said `initialize`."""

    def take(self, line: bytes) -> None:
        """Passes one message on."""
        try:
            message: object = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if line.strip():
                self._fail(None, _NOT_JSON, f"no JSON: {error}")
            return
        if not isinstance(message, dict):
            self._fail(None, _NOT_JSON, "a message is a JSON object")
            return
        taken = cast("Message", message)
        request_id = taken.get("id")
        if "method" in taken and isinstance(request_id, str | int):
            self._requests[request_id] = self._spawn(self._ask(taken, line, request_id))
        elif not self._calls_off_here(taken):
            self._spawn(self._tell(taken, line))

    async def finish(self) -> None:
        """The client says no more: what is under way may still come to its end, for a moment."""
        if self._requests:
            await asyncio.wait(self._requests.values(), timeout=_LAST_SECONDS)

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._others:
            task.cancel()
        await asyncio.gather(*self._others, return_exceptions=True)

    def _calls_off_here(self, message: Message) -> bool:
        """Whether the message calls off a request whose stream says so when it is closed."""
        params = message.get("params")
        if message.get("method") != "notifications/cancelled" or self._session or not isinstance(params, dict):
            return False
        request_id = params.get("requestId")
        task = self._requests.get(request_id) if isinstance(request_id, str | int) else None
        if task is not None:
            task.cancel()
        return True

    async def _ask(self, message: Message, line: bytes, request_id: str | int) -> None:
        try:
            if not await self._exchange(message, line, request_id):
                self._fail(request_id, _UNREACHABLE, "the mesh ended the request without an answer")
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            self._fail(request_id, _UNREACHABLE, f"nothing answers at {str(self._http.base_url).rstrip('/')}: {why}")
        finally:
            self._requests.pop(request_id, None)

    async def _tell(self, message: Message, line: bytes) -> None:
        try:
            await self._exchange(message, line, None)
        except httpx.HTTPError:
            # Nobody waits for an answer to a notification.
            return
        if message.get("method") == "notifications/initialized":
            self._spawn(self._hear())

    async def _exchange(self, message: Message, line: bytes, request_id: str | int | None) -> bool:
        """Sends a message and hands over what comes back; whether the answer was among it."""
        async with self._http.stream("POST", PATH, content=line, headers=self._headers(message)) as response:
            if "text/event-stream" in response.headers.get("content-type", ""):
                return await self._told(response, request_id)
            body = await response.aread()
        answer = _object(body)
        if "jsonrpc" in answer:
            self._note_session(answer, response)
            self._write(_line(body))
            return True
        if response.is_error and request_id is not None:
            reason = str(answer.get("detail") or answer.get("title") or f"the mesh answered {response.status_code}")
            self._fail(request_id, _UNREACHABLE, reason)
            return True
        return False

    async def _told(self, response: httpx.Response, request_id: str | int | None) -> bool:
        answered = False
        async for event in httpx_sse.EventSource(response).aiter_sse():
            data = event.data.encode()
            said = _object(data)
            if request_id is not None and said.get("id") == request_id and "method" not in said:
                answered = True
                self._note_session(said, response)
            if said:
                self._write(_line(data))
        return answered

    async def _hear(self) -> None:
        """Notifications to a client of an earlier protocol, through restarts of the mesh."""
        while True:
            try:
                headers = {"Accept": "text/event-stream", **self._session}
                async with self._http.stream("GET", PATH, headers=headers) as response:
                    await self._told(response, None)
            except httpx.HTTPError:
                pass
            await asyncio.sleep(_AGAIN_SECONDS)
            # What changed meanwhile was told to nobody.
            self._write(_CHANGED)

    def _headers(self, message: Message) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        version = meta.get(_VERSION_KEY) if isinstance(meta, dict) else None
        if not isinstance(version, str):
            return headers | self._session
        headers |= {"Mcp-Protocol-Version": version, "Mcp-Method": str(message.get("method"))}
        name = params.get("name") if isinstance(params, dict) else None
        return headers | ({"Mcp-Name": _header_text(name)} if isinstance(name, str) else {})

    def _note_session(self, answer: Message, response: httpx.Response) -> None:
        result, session = answer.get("result"), response.headers.get("mcp-session-id")
        if session and isinstance(result, dict):
            self._session = {"Mcp-Session-Id": session, "Mcp-Protocol-Version": str(result.get("protocolVersion"))}

    def _fail(self, request_id: str | int | None, code: int, reason: str) -> None:
        error = {"code": code, "message": reason}
        self._write(orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)
        return task


def _object(data: bytes) -> Message:
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return cast("Message", value) if isinstance(value, dict) else {}


def _header_text(value: str) -> str:
    """The value as the protocol has it in a header: in base64, marked, where it is no plain word."""
    return value if _PLAIN.fullmatch(value) else f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def _line(data: bytes) -> bytes:
    """The message in one line: within its strings, JSON has no line break."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ")
