"""Through a proxy that the environment names: the reply as it is, and failures by the same names as without one."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from astromesh_router.exchange import BrokeOff, Dropped, Request, UnknownHost, Unreachable
from astromesh_router.exchange import Exchange as Reply
from astromesh_router.proxied import ProxiedCarrier
from astromesh_testing.models.loopback import Exchange, LoopbackServer

ASKED = Request("http://model.invalid/v1/chat/completions", {"x-kind": "a"}, b"{}")


@pytest.fixture
async def carrier() -> AsyncGenerator[ProxiedCarrier]:
    made = ProxiedCarrier(0.5)
    yield made
    await made.close()


async def relays(exchange: Exchange) -> None:
    request = exchange.request
    assert (request.method, request.path) == ("POST", ASKED.url)
    await exchange.begin("text/event-stream")
    await exchange.piece(request.body)
    await exchange.piece(request.headers["x-kind"].encode())
    await exchange.end()


async def breaks_off(exchange: Exchange) -> None:
    await exchange.begin("text/event-stream")
    await exchange.piece(b"x")
    exchange.break_off()


async def drops(exchange: Exchange) -> None:
    exchange.break_off()


async def read_all(reply: Reply) -> bytes:
    body = b""
    while chunk := await reply.read():
        body += chunk
    return body


async def test_a_reply_comes_through_a_proxy_as_it_is(carrier: ProxiedCarrier, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LoopbackServer(relays) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        exchange = await carrier.send(ASKED)
        assert await read_all(exchange) == b"{}a"
        assert (exchange.status, exchange.ended) == (200, True)
        assert exchange.header("content-type") == "text/event-stream"
        await exchange.close()


async def test_a_connection_that_breaks_is_told_from_one_that_is_dropped(
    carrier: ProxiedCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LoopbackServer(breaks_off) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        exchange = await carrier.send(ASKED)
        with pytest.raises(BrokeOff):
            await read_all(exchange)
        await exchange.close()
    async with LoopbackServer(drops) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(Dropped):
            await carrier.send(ASKED)


async def test_a_proxy_that_is_gone_refuses_and_a_host_without_one_is_unknown(
    carrier: ProxiedCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownHost, match="nobody knows"):
        await carrier.send(ASKED)
    async with LoopbackServer(drops) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
    with pytest.raises(Unreachable, match="refused the connection"):
        await carrier.send(ASKED)
