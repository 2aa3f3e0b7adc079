"""HTTP/1.1 on the bare protocol, for load: it takes little of the core that it shares with the model, and checks that
every answer is a 200."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple, cast

import httptools


class Answer(NamedTuple):
    """A whole answer. The moments are `time.perf_counter`'s; `first` is when the awaited bytes were there."""

    body: bytes
    begun: float
    first: float
    ended: float


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(self, request: bytes, first: bytes = b"") -> Answer:
        """Sends a request. `first` are the bytes whose coming is noted. Raises RuntimeError where it is no 200."""
        self._parser = httptools.HttpResponseParser(self)
        self._awaited, self._received, self._seen = first, b"", 0.0
        self._done = asyncio.get_running_loop().create_future()
        begun = time.perf_counter()
        self._transport.write(request)
        await self._done
        ended = time.perf_counter()
        if self._parser.get_status_code() != 200:
            raise RuntimeError(f"an answer that was not expected: {self._received[:500]!r}")
        return Answer(self._received, begun, self._seen or ended, ended)

    @property
    def usable(self) -> bool:
        """Whether the server has left it open."""
        return not self._transport.is_closing()

    def close(self) -> None:
        """Closes at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_body(self, data: bytes) -> None:
        self._received += data
        if self._awaited and not self._seen and self._awaited in self._received:
            self._seen = time.perf_counter()

    def on_message_complete(self) -> None:
        self._done.set_result(None)


async def connect(port: int) -> Connection:
    """A connection to this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


def written(port: int, path: str, body: bytes, *headers: str) -> bytes:
    """A POST of JSON."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        *headers,
        f"content-length: {len(body)}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body
