"""Tools that are HTTP endpoints: what is sent, what a model reads of the answer, and what each ending means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from astromesh.v1.tools_pb2 import DescribeToolsRequest
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, TOOL_EFFECT_KIND_WRITE
from astromesh_core.errors import TimedOut, Unavailable
from astromesh_testing.contracts.placement import Placement
from astromesh_testing.models.loopback import Exchange, LoopbackServer

from .serving import Mesh, failed, running

CITY = {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOKEN = "a-token-of-the-shop"

Answers = Callable[[Exchange], Awaitable[None]]


@pytest.fixture
async def mesh(tmp_path: Path, placement: Placement) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", placement) as mesh:
        yield mesh


class Shop:
    """An endpoint that answers each request by `answers`, and keeps what it was asked."""

    def __init__(self, answers: Answers) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self._answers = answers

    async def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        self.asked.append((request.method, request.path, request.headers, request.body))
        await self._answers(exchange)


def answering(status: int, body: object, kind: str = "application/json", **headers: str) -> Answers:
    async def answer(exchange: Exchange) -> None:
        text = body if isinstance(body, bytes) else orjson.dumps(body)
        await exchange.send(status, text, kind, headers)

    return answer


def tool(endpoint: str, **fields: object) -> dict[str, object]:
    return {"name": "ask", "type": "webhook", "url": endpoint, "allow_private": True, "parameters": CITY, **fields}


async def test_arguments_are_the_body_unless_it_is_declared(mesh: Mesh) -> None:
    shop = Shop(answering(200, {"ok": True}))
    async with LoopbackServer(shop) as server:
        agent = mesh.agents.add(tool(f"{server.url}/orders/"))
        assert await mesh.output(agent, "ask", '{"city": "Bonn", "days": 2}') == '{"ok":true}'
    ((method, path, headers, body),) = shop.asked
    assert (method, path, orjson.loads(body)) == ("POST", "/orders/", {"city": "Bonn", "days": 2})
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == "run:2.1"


async def test_places_are_filled_in_path_query_and_body(mesh: Mesh) -> None:
    shop = Shop(answering(200, {}))
    query: dict[str, object] = {"days": "{{ days }}", "units": "metric"}
    where = {"name": "{{ city }}"}
    body = {"where": where, "days": "{{ days }}", "note": "in {{ city }}", "n": [1, "{{ days }}"]}
    async with LoopbackServer(shop) as server:
        endpoint = f"{server.url}/weather/{{{{ city }}}}/now?lang=de"
        agent = mesh.agents.add(tool(endpoint, query=query, body=body))
        await mesh.output(agent, "ask", '{"city": "A/B ?&#ü", "days": 2}')
        await mesh.output(agent, "ask", '{"city": "Bonn"}')
    (_, path, _, full), (_, without, _, less) = shop.asked
    assert path == "/weather/A%2FB%20%3F%26%23%C3%BC/now?lang=de&days=2&units=metric"
    named = {"name": "A/B ?&#ü"}
    assert orjson.loads(full) == {"where": named, "days": 2, "note": "in A/B ?&#ü", "n": [1, 2]}
    assert without == "/weather/Bonn/now?lang=de&units=metric"
    assert orjson.loads(less) == {"where": {"name": "Bonn"}, "note": "in Bonn", "n": [1]}


async def test_a_get_is_a_read_and_asks_by_its_query(mesh: Mesh) -> None:
    shop = Shop(answering(200, {}))
    async with LoopbackServer(shop) as server:
        agent = mesh.agents.add(tool(server.url, method="GET"))
        await mesh.output(agent, "ask", '{"city": "Bonn", "days": 2}')
        described = await mesh.stub.DescribeTools(DescribeToolsRequest(agent=agent))
    ((method, path, headers, body),) = shop.asked
    assert (method, path, body) == ("GET", "/?city=Bonn&days=2", b"")
    assert "idempotency-key" not in headers
    assert [spec.effect for spec in described.tools] == [TOOL_EFFECT_KIND_READ]
    writes = await mesh.stub.DescribeTools(DescribeToolsRequest(agent=mesh.agents.add(tool("http://x"))))
    assert [spec.effect for spec in writes.tools] == [TOOL_EFFECT_KIND_WRITE]


@pytest.mark.parametrize(
    ("auth", "name", "sent"),
    [
        ({"type": "bearer", "token": "${SHOP_TOKEN}"}, "authorization", f"Bearer {TOKEN}"),
        ({"type": "header", "name": "X-Key", "value": "${SHOP_TOKEN}"}, "x-key", TOKEN),
        (
            {"type": "basic", "username": "me", "password": "${SHOP_TOKEN}"},
            "authorization",
            "Basic bWU6YS10b2tlbi1vZi10aGUtc2hvcA==",
        ),
    ],
)
async def test_secrets_are_sent_and_never_read_by_a_model(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, auth: dict[str, object], name: str, sent: str
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    shop = Shop(answering(401, {"error": f"{sent} with {TOKEN} is not known"}))
    async with LoopbackServer(shop) as server:
        agent = mesh.agents.add(tool(server.url, auth=auth, headers={"X-Team": "desk ${SHOP_TOKEN}"}))
        response = await mesh.call(agent, "ask", '{"city": "Bonn"}')
        monkeypatch.delenv("SHOP_TOKEN")
        unset = await mesh.call(agent, "ask", '{"city": "Bonn"}')
    ((_, _, headers, _),) = shop.asked
    assert (headers[name], headers["x-team"]) == (sent, f"desk {TOKEN}")
    assert TOKEN not in str(response)
    assert "[secret]" in str(response)
    assert failed(unset) == ("invalid-input", "environment variable SHOP_TOKEN is not set")


@pytest.mark.parametrize(
    ("select", "shown"),
    [("$.days[0].t", "21"), ("$.days[*].t", "[21,19]"), ("$.nothing", "null"), ("$..t", "[21,19]")],
)
async def test_a_model_reads_what_is_selected(mesh: Mesh, select: str, shown: str) -> None:
    body = {"days": [{"t": 21}, {"t": 19}], "station": {"id": 7}}
    async with LoopbackServer(Shop(answering(200, body))) as server:
        agent = mesh.agents.add(tool(server.url, response={"select": select}))
        assert await mesh.output(agent, "ask", '{"city": "Bonn"}') == shown


@pytest.mark.parametrize(
    ("select", "body"),
    [("$..*..*..*", [list(range(300))] * 300), ("$..a", orjson.Fragment(b"[" * 900 + b"1" + b"]" * 900))],
)
async def test_what_would_take_for_ever_to_select_is_not_selected(mesh: Mesh, select: str, body: object) -> None:
    async with LoopbackServer(Shop(answering(200, body))) as server, asyncio.timeout(20):
        agent = mesh.agents.add(tool(server.url, response={"select": select}, timeout=15))
        assert (await mesh.output(agent, "ask", '{"city": "Bonn"}')).startswith("[nothing ")


@pytest.mark.parametrize(
    ("body", "kind", "shown"),
    [
        (b"sunny", "text/plain", "sunny"),
        ("Grün".encode("latin-1"), "text/plain; charset=latin-1", "Grün"),
        (b"\xff\xfe", "text/plain; charset=nonsense", "��"),
        (b"\x89PNG", "image/png", "[4 bytes of image/png, which a model cannot read]"),
        (b"{not json", "application/json", "{not json"),
        (b"", "application/octet-stream", ""),
    ],
)
async def test_an_answer_is_shown_as_a_model_can_read_it(mesh: Mesh, body: bytes, kind: str, shown: str) -> None:
    async with LoopbackServer(Shop(answering(200, body, kind))) as server:
        agent = mesh.agents.add(tool(server.url))
        assert await mesh.output(agent, "ask", '{"city": "Bonn"}') == shown


@pytest.mark.parametrize(("status", "error"), [(429, "rate-limited"), (501, "unavailable"), (503, "unavailable")])
async def test_a_server_that_says_no_has_done_nothing(mesh: Mesh, status: int, error: str) -> None:
    async with LoopbackServer(Shop(answering(status, {"why": "busy"}))) as server:
        agent = mesh.agents.add(tool(server.url))
        kind, message = failed(await mesh.call(agent, "ask", '{"city": "Bonn"}'))
    assert (kind, message) == (error, f'ask answered {status}: {{"why":"busy"}}')


async def test_an_answer_that_refuses_is_the_models_to_work_with(mesh: Mesh) -> None:
    async with LoopbackServer(Shop(answering(404, {"error": "no such city"}))) as server:
        agent = mesh.agents.add(tool(server.url, response={"select": "$.t"}))
        response = await mesh.call(agent, "ask", '{"city": "Bnn"}')
    assert response.result.is_error
    assert response.result.output.text == '404: {"error":"no such city"}'


async def hangs(exchange: Exchange) -> None:
    await exchange.hang()


async def breaks_off(exchange: Exchange) -> None:
    exchange.break_off()


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (hangs, TimedOut),
        (breaks_off, Unavailable),
        (answering(408, {}), Unavailable),
        (answering(500, {}), Unavailable),
        (answering(504, {}), Unavailable),
        (answering(599, {}), Unavailable),
        (answering(502, {}), Unavailable),
        (answering(303, b"", "text/plain", location="/done"), Unavailable),
        (answering(302, b"", "text/plain", location="http://[::1"), Unavailable),
    ],
)
async def test_a_write_without_a_definite_answer_is_open_and_a_read_failed(
    mesh: Mesh, answers: Answers, error: type[Exception]
) -> None:
    shop = Shop(answers)
    async with LoopbackServer(shop) as server:
        write = mesh.agents.add(tool(server.url, timeout=0.4))
        with pytest.raises(error):
            await mesh.call(write, "ask", '{"city": "Bonn"}')
        assert len(shop.asked) == 1, "a write is sent once"
        read = mesh.agents.add(tool(server.url, method="GET", timeout=0.4))
        assert (await mesh.call(read, "ask", '{"city": "Bonn"}')).HasField("failure")


async def test_what_was_never_sent_has_failed_for_sure(mesh: Mesh) -> None:
    async with LoopbackServer(Shop(answering(200, {}))) as server:
        address = server.url
    agent = mesh.agents.add(tool(address), tool("http://nowhere.invalid/", name="lost"))
    assert failed(await mesh.call(agent, "ask", '{"city": "Bonn"}'))[0] == "unavailable"
    assert failed(await mesh.call(agent, "lost", '{"city": "Bonn"}'))[0] == "unavailable"
    assert failed(await mesh.call(agent, "ask", '{"days": 2}'))[0] == "invalid-input"
    assert failed(await mesh.call(agent, "ask", '{"city": "Bonn"}', start_before=1))[0] == "timed-out"


@pytest.mark.parametrize(
    "inside",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
    ],
)
async def test_an_address_inside_the_network_is_refused_unless_it_is_allowed(mesh: Mesh, inside: str) -> None:
    shop = Shop(answering(200, {}))
    async with LoopbackServer(shop) as server:
        agent = mesh.agents.add(tool(inside.format(port=server.url.rpartition(":")[2]), allow_private=False))
        kind, message = failed(await mesh.call(agent, "ask", '{"city": "Bonn"}'))
    assert kind == "denied"
    assert "an address inside the network; declare allow_private: true" in message
    assert shop.asked == []


async def test_only_a_read_follows_redirects_and_tells_another_server_no_secret(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    auth = {"type": "bearer", "token": "${SHOP_TOKEN}"}
    target = Shop(answering(200, {"t": 21}))
    async with LoopbackServer(target) as second:
        first = Shop(answering(307, b"", "text/plain", location=f"{second.url}/there"))
        async with LoopbackServer(first) as server:
            agent = mesh.agents.add(
                tool(server.url, method="GET", auth=auth), tool(server.url, name="write", auth=auth)
            )
            assert await mesh.output(agent, "ask", '{"city": "Bonn"}') == '{"t":21}'
            kind, message = failed(await mesh.call(agent, "write", '{"city": "Bonn"}'))
    assert "authorization" in first.asked[0][2]
    assert [(path, "authorization" in headers) for _, path, headers, _ in target.asked] == [("/there", False)]
    assert (kind, "is redirected to 127.0.0.1" in message) == ("invalid-input", True)


async def test_a_place_in_the_path_leads_nowhere_else(mesh: Mesh) -> None:
    shop = Shop(answering(200, {}))
    async with LoopbackServer(shop) as server:
        agent = mesh.agents.add(tool(f"{server.url}/orders/{{{{ city }}}}/lines?of={{{{ city }}}}", method="DELETE"))
        for city in ("", ".", ".."):
            kind, message = failed(await mesh.call(agent, "ask", orjson.dumps({"city": city}).decode()))
            assert (kind, "cannot fill" in message) == ("invalid-input", True)
        await mesh.output(agent, "ask", '{"city": "../..%2f"}')
    assert [path for _, path, _, _ in shop.asked] == ["/orders/..%2F..%252f/lines?of=..%2F..%252f"]


async def test_a_secret_within_a_header_or_an_address_is_read_by_nobody(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    shop = Shop(answering(404, {"error": f"/{TOKEN}/orders: {TOKEN} is unknown to 127.0.0.1"}))
    async with LoopbackServer(shop) as server:
        monkeypatch.setenv("SHOP_URL", server.url)
        monkeypatch.setenv("SHOP_HOST", server.url.removeprefix("http://").partition(":")[0])
        in_header = tool("${SHOP_URL}/orders", headers={"X-Team": "desk ${SHOP_TOKEN}"})
        port = server.url.rpartition(":")[2]
        in_address = tool(f"http://${{SHOP_HOST}}:{port}/${{SHOP_TOKEN}}/orders", name="other")
        agent = mesh.agents.add(in_header, in_address)
        answers = [await mesh.call(agent, name, '{"city": "Bonn"}') for name in ("ask", "other")]
        monkeypatch.setenv("SHOP_TOKEN", f"{TOKEN}\n")
        broken = await mesh.call(agent, "ask", '{"city": "Bonn"}')
    assert [path for _, path, _, _ in shop.asked] == ["/orders", f"/{TOKEN}/orders"]
    for answer in answers:
        assert answer.result.output.text == '404: {"error":"/[secret]/orders: [secret] is unknown to 127.0.0.1"}'
    assert failed(broken)[0] == "invalid-input"
    assert TOKEN not in str(broken)


async def test_a_circle_of_redirects_ends(mesh: Mesh) -> None:
    shop = Shop(answering(301, b"", "text/plain", location="/again"))
    async with LoopbackServer(shop) as server:
        agent = mesh.agents.add(tool(server.url, method="GET"))
        assert "more than 5 times" in failed(await mesh.call(agent, "ask", '{"city": "Bonn"}'))[1]
    assert len(shop.asked) == 6


async def test_an_answer_without_end_is_left(mesh: Mesh) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.begin("text/plain")
        while True:
            await exchange.piece(b"x" * 65_536)

    async with LoopbackServer(Shop(endless)) as server:
        agent = mesh.agents.add(tool(server.url))
        async with asyncio.timeout(10):
            shown = await mesh.output(agent, "ask", '{"city": "Bonn"}')
    assert shown == "[an answer of more than 4194304 bytes was left unread]"
