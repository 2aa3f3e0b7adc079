"""Pages of the web: what a model reads of them, and which addresses are never asked."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from astromesh_testing.contracts.placement import Placement
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_tools.builtin.pages import readable
from astromesh_tools.builtin.web_scrape import MOST_BYTES

from .serving import Mesh, failed, running

PAGE = """<html><head><title>Prices &amp; terms</title><style>p {}</style></head><body>
<header>Menu</header><nav><a href="/">Home</a></nav>
<p>A crate is <b>12&nbsp;€</b>, see <a href="/terms?a=1">the terms</a>.</p><script>alert(1)</script>
<table><tr><th>kg</th><th>price</th></tr><tr><td>1</td><td>3</td></tr></table><footer>Imprint</footer></body></html>"""

Answers = Callable[[Exchange], Awaitable[None]]


@pytest.fixture
async def mesh(tmp_path: Path, placement: Placement) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", placement) as mesh:
        yield mesh


def scrape(**config: object) -> dict[str, object]:
    return {"name": "web_scrape", "type": "builtin", "timeout": 20, "config": {"allow_private": True, **config}}


def answering(status: int, body: bytes, kind: str = "text/html; charset=utf-8", **headers: str) -> Answers:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(status, body, kind, headers)

    return answer


def asking(url: str, **more: object) -> str:
    return orjson.dumps({"url": url, **more}).decode()


async def test_a_page_is_read_as_markdown_with_absolute_links(mesh: Mesh) -> None:
    async with LoopbackServer(answering(200, PAGE.encode())) as server:
        agent = mesh.agents.add(scrape())
        text = await mesh.output(agent, "web_scrape", asking(f"{server.url}/prices#top"))
    assert text.startswith("# Prices & terms\n\nA crate is **12\u00a0€**, see ")
    assert f"[the terms]({server.url}/terms?a=1)" in text
    assert "| 1 | 3 |" in text
    assert not any(word in text for word in ("Menu", "Home", "alert", "Imprint"))


@pytest.mark.parametrize(
    ("body", "kind", "charset", "shown"),
    [
        (b'{"a": 1.0}', "application/json", "", '{"a": 1.0}'),
        ("Grün".encode("latin-1"), "text/plain", "latin-1", "Grün"),
        ("<meta charset=latin-1><p>Grün".encode("latin-1"), "text/html", "", "Grün"),
        (b"ok", "text/plain", "no-such-charset", "ok"),
        (b"\x89PNG", "image/png", "", "[4 bytes of image/png, which cannot be read as text]"),
        (b"<main>a</main><p>b", "text/html", "", "a"),
    ],
)
def test_an_answer_is_shown_as_a_model_can_read_it(body: bytes, kind: str, charset: str, shown: str) -> None:
    assert readable(body, kind, charset, "http://x/") == shown


async def test_a_long_page_is_read_in_parts(mesh: Mesh) -> None:
    async with LoopbackServer(answering(200, b"0123456789", "text/plain")) as server:
        agent = mesh.agents.add(scrape())
        first = await mesh.output(agent, "web_scrape", asking(server.url, max_length=4))
        last = await mesh.output(agent, "web_scrape", asking(server.url, max_length=6, start=4))
        beyond = failed(await mesh.call(agent, "web_scrape", asking(server.url, start=10)))
    assert first == "0123\n[characters 0 to 4 of 10; go on with start: 4]"
    assert last == "456789\n[characters 4 to 10 of 10]"
    assert beyond == ("invalid-input", "start: the text has 10 characters")


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, "not-found"), (403, "denied"), (429, "rate-limited"), (500, "unavailable"), (418, "invalid-input")],
)
async def test_a_page_that_is_not_sent_is_told_with_its_status(mesh: Mesh, status: int, error: str) -> None:
    async with LoopbackServer(answering(status, b"secret details")) as server:
        agent = mesh.agents.add(scrape())
        kind, message = failed(await mesh.call(agent, "web_scrape", asking(server.url)))
    assert (kind, f"answers {status}" in message, "secret" in message) == (error, True, False)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://nowhere.invalid/", "unavailable"),
        ("ftp://example.com/", "invalid-input"),
        ("file:///etc/passwd", "invalid-input"),
        ("http://me:secret@example.com/", "invalid-input"),
        ("example.com", "invalid-input"),
        ("http://[::1/", "invalid-input"),
        ("http://x:99999/", "invalid-input"),
    ],
)
async def test_what_is_no_address_of_a_page_is_told(mesh: Mesh, url: str, error: str) -> None:
    kind, message = failed(await mesh.call(mesh.agents.add(scrape()), "web_scrape", asking(url)))
    assert kind == error, message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "169.254.169.254", "2130706433"])
async def test_nothing_inside_the_network_is_asked_unless_that_is_allowed(mesh: Mesh, host: str) -> None:
    asked: list[str] = []

    async def answer(exchange: Exchange) -> None:
        asked.append(exchange.request.path)
        await exchange.send(200, b"inside", "text/plain")

    async with LoopbackServer(answer) as server:
        agent = mesh.agents.add(scrape(allow_private=False))
        url = f"http://{host}:{server.url.rpartition(':')[2]}/"
        kind, _ = failed(await mesh.call(agent, "web_scrape", asking(url)))
    assert (kind, asked) == ("denied", [])


async def test_a_redirect_is_followed_told_and_judged_like_the_address_itself(mesh: Mesh) -> None:
    asked: list[str] = []

    async def answer(exchange: Exchange) -> None:
        path = exchange.request.path
        asked.append(path)
        if path == "/there":
            await exchange.send(200, b"here", "text/plain")
            return
        port = exchange.request.headers["host"].rpartition(":")[2]
        targets = {"/moved": "/there", "/out": f"http://localhost:{port}/there", "/round": "/round"}
        await exchange.send(302, b"", "text/plain", {"Location": targets[path]})

    async with LoopbackServer(answer) as server:
        agent = mesh.agents.add(scrape(allowed_hosts=["127.0.0.1"]))
        shown = await mesh.output(agent, "web_scrape", asking(f"{server.url}/moved"))
        out = failed(await mesh.call(agent, "web_scrape", asking(f"{server.url}/out")))
        circle = failed(await mesh.call(agent, "web_scrape", asking(f"{server.url}/round")))
    assert shown == f"[redirected to {server.url}/there]\nhere"
    assert out == ("denied", "localhost may not be asked; the hosts that may are 127.0.0.1")
    assert "more than 5 times" in circle[1]
    assert asked == ["/moved", "/there", "/out", *["/round"] * 6]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://docs.example.invalid/", True),
        ("http://a.b.DOCS.example.invalid./", True),
        ("http://docs.example.invalid.evil.invalid/", False),
        ("http://evildocs.example.invalid/", False),
        ("http://example.invalid/", False),
        ("http://shop.invalid/", True),
        ("http://www.shop.invalid/", False),
    ],
)
async def test_only_hosts_that_are_declared_are_asked(mesh: Mesh, url: str, allowed: bool) -> None:
    agent = mesh.agents.add(scrape(allowed_hosts=["docs.example.invalid", "*.docs.example.invalid", "shop.invalid"]))
    kind, _ = failed(await mesh.call(agent, "web_scrape", asking(url)))
    assert kind == ("unavailable" if allowed else "denied")


async def test_a_page_without_end_is_left(mesh: Mesh) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.begin("text/html")
        while True:
            await exchange.piece(b"x" * 65_536)

    async with LoopbackServer(endless) as server:
        kind, message = failed(await mesh.call(mesh.agents.add(scrape()), "web_scrape", asking(server.url)))
    assert (kind, "too much to read" in message) == ("invalid-input", True)


def test_of_html_that_is_nested_too_deeply_the_words_are_read() -> None:
    assert readable(b"<div>" * 5_000 + b"deep", "text/html", "", "http://x/") == "deep"


@pytest.mark.parametrize("piece", [b"<a", b"<!--", b"<![CDATA[", b"<?", b"</", b"<a b='", b"&#", b"<script>"])
def test_a_page_that_nobody_closes_is_read_in_a_moment(piece: bytes) -> None:
    begun = time.monotonic()
    readable(b"<p>words" + piece * (MOST_BYTES // len(piece)), "text/html", "", "http://x/")
    assert time.monotonic() - begun < 10
