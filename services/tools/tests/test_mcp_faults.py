"""What goes wrong with MCP servers: sessions that are gone, answers that break off, servers that hang, break or lie."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import orjson
import pytest

from astromesh_core.errors import TimedOut, Unavailable
from astromesh_testing.contracts.placement import in_process
from astromesh_testing.mcp_serving import Json, LegacyServer, legacy
from astromesh_testing.mesh import free_ports
from astromesh_testing.models import loopback
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.waiting import until

from .mcp_agents import address, connected, name_of, shop, source
from .serving import Mesh, failed, function, running


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", in_process) as mesh:
        yield mesh


async def test_a_session_that_is_gone_costs_one_new_one_and_no_call(mesh: Mesh) -> None:
    server = shop()
    async with legacy(server) as url:
        agent = mesh.agents.add(address(url))
        assert await mesh.output(agent, "buy") == "buy"
        for name in ("look", "buy"):
            server.forget()
            assert await mesh.output(agent, name) == name
        assert server.initialized == 3
        assert list(map(name_of, server.calls)) == ["buy", "look", "buy"]


@pytest.mark.parametrize(("status", "told"), [(404, "not-found"), (400, "invalid-input")])
async def test_a_session_that_is_gone_wherever_one_asks_is_no_loop(mesh: Mesh, status: int, told: str) -> None:
    async def gone(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        await exchange.send(status, b"no such session", "text/plain")

    server = shop(gone)
    async with legacy(server) as url:
        agent = mesh.agents.add(address(url))
        for name in ("look", "buy"):
            assert failed(await mesh.call(agent, name))[0] == told
        assert len(server.calls) == 4


async def test_a_forgotten_session_is_known_by_the_code_that_old_clients_made_up(mesh: Mesh) -> None:
    async def once(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        if len(server.calls) == 1:
            await server.fail(exchange, message, 32600, "Session terminated")
        else:
            await server.say(exchange, message, "sold")

    server = shop(once)
    async with legacy(server) as url:
        assert await mesh.output(mesh.agents.add(address(url)), "buy") == "sold"
        assert server.initialized == 2


async def test_a_call_that_was_under_way_when_its_server_went_is_never_made_again(mesh: Mesh) -> None:
    async def goes(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        server.forget()
        exchange.break_off()

    server = shop(goes)
    async with legacy(server) as url:
        agent = mesh.agents.add(address(url))
        with pytest.raises(Unavailable, match="buy: harbour"):
            await mesh.call(agent, "buy")
        assert len(server.calls) == 1
        assert (await mesh.call(agent, "look")).HasField("failure")


async def test_a_session_that_is_given_up_lets_what_is_under_way_end(mesh: Mesh) -> None:
    bought = asyncio.Event()

    async def answer(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        if name_of(message) == "buy":
            await bought.wait()
        await server.say(exchange, message, "done")

    server = shop(answer)
    async with legacy(server) as url:
        agent = mesh.agents.add(address(url))
        buying = asyncio.create_task(mesh.output(agent, "buy"))
        await until(lambda: _called(server))
        server.forget()
        assert await mesh.output(agent, "look") == "done"
        assert server.initialized == 2
        bought.set()
        assert await buying == "done"


@pytest.mark.parametrize(
    ("status", "open_outcome"), [(400, False), (401, False), (429, False), (503, False), (500, True), (502, True)]
)
async def test_what_http_says_of_a_write_decides_whether_it_was_done(
    mesh: Mesh, status: int, *, open_outcome: bool
) -> None:
    async def answer(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        await exchange.send(status, b"no", "text/plain")

    async with legacy(shop(answer)) as url:
        agent = mesh.agents.add(address(url))
        if open_outcome:
            with pytest.raises(Unavailable, match=str(status)):
                await mesh.call(agent, "buy")
        else:
            assert str(status) in failed(await mesh.call(agent, "buy"))[1]
        assert (await mesh.call(agent, "look")).HasField("failure")


@pytest.mark.parametrize(("code", "open_outcome"), [(-32602, False), (-32601, False), (-32603, True), (-32000, True)])
async def test_what_the_server_says_of_a_write_decides_whether_it_was_done(
    mesh: Mesh, code: int, *, open_outcome: bool
) -> None:
    async def answer(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        await server.fail(exchange, message, code, "the till is shut")

    async with legacy(shop(answer)) as url:
        agent = mesh.agents.add(address(url))
        if open_outcome:
            with pytest.raises(Unavailable, match="the till is shut"):
                await mesh.call(agent, "buy")
        else:
            assert failed(await mesh.call(agent, "buy"))[0] == "invalid-input"


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b'{"jsonrpc": "2.0", "id": 99, "result": {}}',
        b'{"jsonrpc": "2.0", "id": 3, "result": {"content": 5}}',
        b'{"jsonrpc": "2.0", "id": 3, "result": {}}',
        b"[]",
    ],
)
async def test_an_answer_that_is_no_mcp_is_no_outcome(mesh: Mesh, body: bytes) -> None:
    async def answer(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        await exchange.send(200, body.replace(b'"id": 3', b'"id": %d' % message["id"]), "application/json")

    async with legacy(shop(answer)) as url:
        agent = mesh.agents.add(address(url, timeout_seconds=1))
        with pytest.raises((Unavailable, TimedOut)):
            await mesh.call(agent, "buy")
        assert (await mesh.call(agent, "look")).HasField("failure")


async def test_one_that_hangs_delays_its_own_call_alone(mesh: Mesh) -> None:
    async def answer(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        if name_of(message) == "look":
            await exchange.hang()
        await server.say(exchange, message, "sold")

    server = shop(answer)
    async with legacy(server) as url:
        agent = mesh.agents.add(address(url, timeout_seconds=3))
        hanging = asyncio.create_task(mesh.call(agent, "look"))
        await until(lambda: _called(server))
        began = time.monotonic()
        assert await mesh.output(agent, "buy") == "sold"
        assert time.monotonic() - began < 2.5
        assert failed(await hanging)[0] == "timed-out"
        await until(lambda: _cancelled(server))


async def test_a_server_that_hangs_as_it_is_opened_is_named_and_delays_no_other_agent(mesh: Mesh) -> None:
    async def hang(exchange: Exchange) -> None:
        await exchange.hang()

    mesh.write("shop", "def add(a: int, b: int) -> int:\n    return a + b\n")
    async with LoopbackServer(hang) as server:
        agent = mesh.agents.add(function("add"), address(f"{server.url}/mcp", connect_timeout_seconds=2.5))
        told = asyncio.create_task(source(mesh, agent))
        began = time.monotonic()
        # A call of the agent's own tools does not wait for the server, either.
        assert await mesh.output(agent, "add", '{"a": 1, "b": 2}') == "3"
        assert time.monotonic() - began < 2.3
        found = await told
        assert (found.connected, found.reason) == (False, "TimedOut")
        assert "harbour" in found.message
        began = time.monotonic()
        assert not (await source(mesh, agent)).connected
        assert time.monotonic() - began < 2, "what is known to be broken is waited for once"


async def test_a_server_that_comes_back_is_found_by_itself(mesh: Mesh) -> None:
    port = free_ports(1)[0]
    agent = mesh.agents.add(address(f"http://127.0.0.1:{port}/mcp", connect_timeout_seconds=0.5))
    away = await source(mesh, agent)
    assert (away.connected, away.reason) == (False, "Unavailable")
    assert f"no connection to 127.0.0.1: Connect call failed ('127.0.0.1', {port})" in away.message
    async with legacy(shop(), port):
        await connected(mesh, agent)
        assert await mesh.output(agent, "look") == "look"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["no-such-program-anywhere"], "no-such-program-anywhere: No such file or directory"),
        (["sh", "-c", "echo the key is wrong >&2; exit 3"], "the key is wrong"),
        (["sh", "-c", "while read -r line; do echo nonsense; done"], "no answer within 1.5 s"),
    ],
)
async def test_a_program_that_is_no_server_is_named_with_what_it_said(
    mesh: Mesh, command: list[str], told: str
) -> None:
    program, *arguments = command
    entry: dict[str, object] = {
        "name": "tool",
        "type": "mcp",
        "command": program,
        "args": arguments,
        "connect_timeout_seconds": 1.5,
    }
    found = await source(mesh, mesh.agents.add(entry), "tool")
    assert not found.connected
    assert told in found.message


async def test_an_answer_beyond_all_bounds_ends_its_own_call_alone(mesh: Mesh) -> None:
    async def answer(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        if len(server.calls) == 1:
            await exchange.begin("application/json")
            for _ in range(40):
                await exchange.piece(b" " * 262_144)
            await exchange.end()
        else:
            await server.say(exchange, message, "x" * 3_000_000)

    server = shop(answer)
    async with legacy(server) as url:
        agent = mesh.agents.add(address(url))
        assert failed(await mesh.call(agent, "look"))[0] == "unavailable"
        assert len(await mesh.output(agent, "look")) == 3_000_000
        assert server.initialized == 1


async def test_a_secret_that_a_server_repeats_is_read_by_nobody(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "a-token-of-the-shop")
    seen: list[str] = []

    async def answer(server: LegacyServer, exchange: Exchange, message: Json) -> None:
        seen.append(exchange.request.headers["authorization"])
        if len(seen) == 1:
            await server.say(exchange, message, f"you sent {seen[-1]}")
        else:
            await server.fail(exchange, message, -32602, f"wrong {seen[-1]}")

    async with legacy(shop(answer)) as url:
        agent = mesh.agents.add(address(url, auth={"type": "bearer", "token": "${SHOP_TOKEN}"}))
        assert await mesh.output(agent, "look") == "you sent Bearer [secret]"
        assert "wrong Bearer [secret]" in failed(await mesh.call(agent, "look"))[1]
    assert seen[0] == "Bearer a-token-of-the-shop"


async def test_a_variable_that_is_not_set_is_named(mesh: Mesh) -> None:
    agent = mesh.agents.add(
        address("https://example.com/mcp", headers={"X-Key": "${NO_SUCH_VARIABLE_ANYWHERE}"}, required=False)
    )
    found = await source(mesh, agent)
    assert (found.connected, found.required, found.reason) == (False, False, "InvalidInput")
    assert "NO_SUCH_VARIABLE_ANYWHERE is not set" in found.message


async def test_a_server_whose_certificate_nobody_vouches_for_is_told_nothing(mesh: Mesh) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(loopback.__file__).parent / "untrusted.pem")
    asked: list[Exchange] = []

    async def listen(exchange: Exchange) -> None:
        asked.append(exchange)

    async with LoopbackServer(listen, tls=context) as server:
        agent = mesh.agents.add(address(f"{server.url}/mcp", connect_timeout_seconds=0.5))
        assert "self-signed certificate" in (await source(mesh, agent)).message
    assert asked == []


async def test_a_redirect_to_another_server_is_not_followed(mesh: Mesh) -> None:
    asked = 0

    async def other(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        await exchange.send(200, orjson.dumps({}), "application/json")

    async with LoopbackServer(other) as elsewhere:

        async def led_away(exchange: Exchange) -> None:
            await exchange.send(307, b"", "text/plain", {"location": f"{elsewhere.url}/mcp"})

        async with LoopbackServer(led_away) as server:
            found = await source(mesh, mesh.agents.add(address(f"{server.url}/mcp", connect_timeout_seconds=1)))
    assert not found.connected
    assert asked == 0


async def _called(server: LegacyServer) -> bool:
    return bool(server.calls)


async def _cancelled(server: LegacyServer) -> bool:
    return bool(server.cancelled)
