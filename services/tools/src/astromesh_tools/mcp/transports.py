"""The ways to a server: the SDK's transports, with our bounds around them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from astromesh_tools.mcp.http import MOST_BYTES, OutboundTransport

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, TransportStreams

    from astromesh_core.outbound import Outbound
    from astromesh_tools.mcp.servers import Server

_KEPT_BYTES: Final = 2_000
_READ_BYTES: Final = 65_536


class Said:
    """The end of what a program wrote on its standard error: where it says why it does not work."""

    def __init__(self) -> None:
        self._tail = b""

    @property
    def tail(self) -> str:
        """As text; "" where it wrote nothing."""
        return self._tail.decode(errors="replace").strip()

    @asynccontextmanager
    async def heard(self) -> AsyncGenerator[int]:
        """Yields a descriptor to write to."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        loop = asyncio.get_running_loop()
        loop.add_reader(reading, self._read, reading)
        try:
            yield writing
        finally:
            loop.remove_reader(reading)
            self._read(reading)
            os.close(reading)
            os.close(writing)

    def _read(self, reading: int) -> None:
        try:
            self._tail = (self._tail + os.read(reading, _READ_BYTES))[-_KEPT_BYTES:]
        except BlockingIOError:
            return


@asynccontextmanager
async def streams(
    server: Server, outbound: Outbound, said: Said, on_end: Callable[[], None], on_lost: Callable[[], None]
) -> AsyncGenerator[TransportStreams]:
    """Yields the streams to a server; `on_end` is told when nothing comes by them any more, `on_lost` when nothing is
    taken any more. Leaving ends a program that was started, and a session that was opened."""
    match server.way:
        case "stdio":
            way = _stdio(server, said)
        case "sse":
            way = _sse(server, outbound, on_lost)
        case _:
            way = _http(server, outbound)
    async with way as (read, write):
        yield _Watched(read, on_end), write


@asynccontextmanager
async def _stdio(server: Server, said: Said) -> AsyncGenerator[TransportStreams]:
    program, *arguments = server.command
    parameters = StdioServerParameters(
        command=program,
        args=arguments,
        env=dict(server.environment),
        cwd=server.folder,
        encoding_error_handler="replace",
    )
    async with said.heard() as writing:
        with os.fdopen(writing, "w", closefd=False) as file:
            async with stdio_client(parameters, file) as opened:
                yield opened


@asynccontextmanager
async def _sse(server: Server, outbound: Outbound, on_lost: Callable[[], None]) -> AsyncGenerator[TransportStreams]:
    def client(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        return _client(server, outbound, on_lost)

    async with sse_client(server.url, httpx_client_factory=client) as opened:
        yield opened


@asynccontextmanager
async def _http(server: Server, outbound: Outbound) -> AsyncGenerator[TransportStreams]:
    async with (
        _client(server, outbound) as client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=MOST_BYTES) as opened,
    ):
        yield opened


def _client(server: Server, outbound: Outbound, on_lost: Callable[[], None] | None = None) -> httpx2.AsyncClient:
    transport = OutboundTransport(outbound, allow_private=server.allow_private, on_lost=on_lost)
    return httpx2.AsyncClient(transport=transport, headers=dict(server.headers), timeout=None, trust_env=False)


class _Watched:
    """A stream that says when it has ended: the SDK keeps that to itself until somebody sends."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    @property
    def last_context(self) -> object:
        """Of who sent what was received last; None where the transport does not tell."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._on_end()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self._stream.__anext__()
        except (StopAsyncIteration, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._on_end()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(exc_type, exc_val, exc_tb)
