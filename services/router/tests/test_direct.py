"""Connections to model servers: every way in which a body may be framed and cut, and when one is used again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from astromesh_router.direct import BUFFERED_BYTES, DirectCarrier, Origin, place_of
from astromesh_router.exchange import BrokeOff, Dropped, Exchange, NotInTime, Request, Unreachable
from astromesh_router.idle import IdleConnections

Handle = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Kind: a\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\nhello"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + LENGTH


@pytest.fixture
async def carrier() -> AsyncGenerator[DirectCarrier]:
    made = DirectCarrier(0.5, ssl.create_default_context)
    yield made
    await made.close()


@asynccontextmanager
async def server(handle: Handle) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Yields its URL, and for each connection one entry with all that came on it."""
    connections: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(b"")
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                connections[number] += head
                await handle(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/x", connections


def answering(*replies: bytes, close: bool = False, cut: int = 10_000) -> Handle:
    left = list(replies)

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        reply = left.pop(0)
        for start in range(0, len(reply), cut):
            writer.write(reply[start : start + cut])
            await asyncio.sleep(0)
        if close:
            writer.close()

    return handle


async def body_of(exchange: Exchange) -> bytes:
    body = b""
    while chunk := await exchange.read():
        body += chunk
    await exchange.close()
    return body


async def asked(carrier: DirectCarrier, url: str) -> Exchange:
    return await carrier.send(Request(url, {"accept-encoding": "identity"}))


@pytest.mark.parametrize("cut", [1, 7, 10_000])
@pytest.mark.parametrize("reply", [LENGTH, CHUNKED, INTERIM])
async def test_a_body_is_the_same_however_it_is_framed_and_cut(carrier: DirectCarrier, reply: bytes, cut: int) -> None:
    async with server(answering(reply, reply, cut=cut)) as (url, connections):
        for _ in range(2):
            exchange = await asked(carrier, url)
            assert exchange.status == 200
            assert await body_of(exchange) == b"hello"
        assert len(connections) == 1


async def test_a_body_without_a_length_ends_with_its_connection(carrier: DirectCarrier) -> None:
    async with server(answering(UNTIL_CLOSED, close=True)) as (url, _):
        assert await body_of(await asked(carrier, url)) == b"hello"


async def test_headers_are_found_by_their_lower_case_names(carrier: DirectCarrier) -> None:
    async with server(answering(LENGTH)) as (url, connections):
        exchange = await asked(carrier, url)
        assert (exchange.header("x-kind"), exchange.header("absent")) == ("a", "")
        await body_of(exchange)
        assert connections[0].startswith(b"GET /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")


async def test_a_reader_that_leaves_early_cuts_the_connection(carrier: DirectCarrier) -> None:
    async with server(answering(CHUNKED[:-5], LENGTH)) as (url, connections):
        exchange = await asked(carrier, url)
        await exchange.read()
        await exchange.close()
        assert await body_of(await asked(carrier, url)) == b"hello"
        assert len(connections) == 2


async def test_a_kept_connection_that_the_server_closed_is_not_used(carrier: DirectCarrier) -> None:
    async with server(answering(LENGTH, LENGTH, close=True)) as (url, connections):
        for _ in range(2):
            assert await body_of(await asked(carrier, url)) == b"hello"
            await asyncio.sleep(0.05)
        assert len(connections) == 2


def together(count: int) -> Handle:
    """Answers when so many requests are here, so that each needs a connection of its own."""
    barrier = asyncio.Barrier(count)

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        await barrier.wait()
        writer.write(LENGTH)

    return handle


async def answered(carrier: DirectCarrier, url: str) -> bytes:
    return await body_of(await asked(carrier, url))


async def test_calls_after_each_other_share_a_connection_and_calls_at_once_have_one_each(
    carrier: DirectCarrier,
) -> None:
    async with server(together(3)) as (url, connections):
        for _ in range(4):
            await asyncio.gather(*(answered(carrier, url) for _ in range(3)))
        assert len(connections) == 3


async def test_what_a_burst_opened_beyond_the_bound_is_closed_after_it() -> None:
    idle = IdleConnections[Origin, Any](most=2)
    carrier = DirectCarrier(0.5, ssl.create_default_context, idle)
    async with server(together(4)) as (url, connections):
        for _ in range(2):
            await asyncio.gather(*(answered(carrier, url) for _ in range(4)))
        assert len(connections) == 4 + 2
        await carrier.close()


async def test_an_idle_connection_is_closed_when_nobody_calls_any_more() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(LENGTH)
        assert await reader.read() == b""
        left.set()
        writer.close()

    carrier = DirectCarrier(0.5, ssl.create_default_context, IdleConnections[Origin, Any](seconds=0.1))
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        await answered(carrier, f"http://127.0.0.1:{port}/")
        async with asyncio.timeout(5):
            await left.wait()
        await carrier.close()


class Line:
    """A connection that notes when it is cut."""

    def __init__(self) -> None:
        self.usable = True

    def cut(self) -> None:
        self.usable = False


async def test_the_connection_used_last_is_taken_first_and_none_that_waited_too_long() -> None:
    now = 0.0
    idle = IdleConnections[str, Line](seconds=30, clock=lambda: now)
    lines = [Line() for _ in range(4)]
    for line in lines:
        idle.put("a", line)
        now += 10
    assert idle.take("b") is None
    assert idle.take("a") is lines[3]
    lines[2].cut()
    assert idle.take("a") is None
    assert [line.usable for line in lines] == [False, False, False, True]
    idle.clear()


FAULTS: Sequence[tuple[bytes, type[Exception], type[Exception] | None]] = [
    (b"", Dropped, None),
    (b"SSH-2.0-x\r\n\r\n", Unreachable, None),
    (LENGTH[:-2], Exception, BrokeOff),
    (CHUNKED[:-5], Exception, BrokeOff),
    (CHUNKED.replace(b"3\r\n", b"z\r\n"), Exception, BrokeOff),
]


@pytest.mark.parametrize(("reply", "before_head", "in_body"), FAULTS)
async def test_says_where_an_exchange_failed(
    carrier: DirectCarrier, reply: bytes, before_head: type[Exception], in_body: type[Exception] | None
) -> None:
    async with server(answering(reply, close=True)) as (url, _):
        if in_body is None:
            with pytest.raises(before_head):
                await asked(carrier, url)
        else:
            exchange = await asked(carrier, url)
            with pytest.raises(in_body):
                await body_of(exchange)
            await exchange.close()


async def test_a_slow_reader_slows_the_server(carrier: DirectCarrier) -> None:
    size = 32 * BUFFERED_BYTES
    sent = 0

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(bytes(64 * 1024))
            sent += 64 * 1024
            await writer.drain()

    async with server(handle) as (url, _):
        exchange = await asked(carrier, url)
        await asyncio.sleep(0.2)
        assert sent < size / 2
        assert len(await body_of(exchange)) == size


async def test_a_server_that_refuses_is_told_from_one_that_is_late(carrier: DirectCarrier) -> None:
    with pytest.raises(Unreachable, match="refused") as raised:
        await asked(carrier, "http://127.0.0.1:1/")
    assert not isinstance(raised.value, NotInTime)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http://", "http://a b/", "http://x:99999/", "http://x/\r\nhost: y", "http://u:p@x/"]
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort|IPv6"):
        place_of(url)


def test_a_url_is_taken_apart() -> None:
    assert place_of("http://h:81/a b".replace(" ", "%20")).target == "/a%20b"
    assert place_of("https://h/v1?x=1&y=2").target == "/v1?x=1&y=2"
    assert place_of("https://h/v1").authority == "h"
    assert place_of("http://[::1]:8080/").authority == "[::1]:8080"
    assert place_of("https://bücher.example/").origin.host == "xn--bcher-kva.example"
