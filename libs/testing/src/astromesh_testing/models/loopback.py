"""A small HTTP/1.1 server on loopback for fakes: requests whole, replies in pieces, and it knows when a client left."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True)
class HttpRequest:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ClientLeft(ConnectionError):
    """The client closed the connection before the reply was complete."""


class Exchange:
    """One request with its reply in the making."""

    def __init__(self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._writer = writer
        self._watch = asyncio.ensure_future(reader.read(1))
        self.broken = False

    async def send(self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None) -> None:
        """Sends a whole reply."""
        await self._head(status, {"content-type": content_type, "content-length": str(len(body)), **(headers or {})})
        await self._write(body)

    async def begin(self, content_type: str, headers: dict[str, str] | None = None) -> None:
        """Begins a reply in pieces."""
        await self._head(200, {"content-type": content_type, "transfer-encoding": "chunked", **(headers or {})})

    async def piece(self, data: bytes) -> None:
        """Sends one piece. Raises ClientLeft once the client has closed."""
        await self._write(b"%x\r\n%b\r\n" % (len(data), data))

    async def raw(self, data: bytes) -> None:
        """Sends bytes as they are. Raises ClientLeft once the client has closed."""
        await self._write(data)

    async def end(self) -> None:
        """Ends a reply in pieces."""
        await self._write(b"0\r\n\r\n")

    def break_off(self) -> None:
        """Cuts the connection."""
        self.broken = True
        self._writer.transport.abort()

    async def pause(self, seconds: float) -> None:
        """Waits; raises ClientLeft as soon as the client closes."""
        await asyncio.wait([self._watch], timeout=seconds)
        if self._watch.done():
            raise ClientLeft

    async def hang(self) -> None:
        """Waits until the client closes, then raises ClientLeft."""
        await asyncio.wait([self._watch])
        raise ClientLeft

    async def release(self) -> None:
        """Gives the reader back to the connection."""
        self._watch.cancel()
        await asyncio.wait([self._watch])

    async def _head(self, status: int, headers: dict[str, str]) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await self._write(f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode())

    async def _write(self, data: bytes) -> None:
        if self._watch.done():
            raise ClientLeft
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise ClientLeft from error


Handler = Callable[[Exchange], Awaitable[None]]


class LoopbackServer:
    """Serves a handler on 127.0.0.1 while entered, over TLS where a context is given; a free port unless one is given.

    `connections` counts accepted ones, `departures` the exchanges whose client left before the end; `changed` is
    notified of whatever tests wait for.
    """

    def __init__(self, handler: Handler, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._port = port
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Condition()
        self.connections = 0
        self.departures = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self._port, limit=1 << 24, ssl=self._tls
        )
        port = int(self._server.sockets[0].getsockname()[1])
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def departed(self, count: int = 1) -> None:
        """Returns once so many clients have left before the end of their reply."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.departures >= count)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one_exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client closed between two requests
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one_exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        exchange = Exchange(await read_request(reader), reader, writer)
        try:
            await self._handler(exchange)
        except ClientLeft:
            async with self.changed:
                self.departures += 1
                self.changed.notify_all()
            return False
        finally:
            await exchange.release()
        return not exchange.broken


async def read_request(reader: asyncio.StreamReader) -> HttpRequest:
    """Reads one request with its body. Raises IncompleteReadError where the connection ends first."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return HttpRequest(method, path, headers, body)
