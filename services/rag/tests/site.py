"""A site on loopback whose pages answer as tests tell them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from aiohttp import web as server

Handler = Callable[[server.Request], Awaitable[server.StreamResponse]]

MARKDOWN = {"Content-Type": "text/markdown; charset=utf-8"}


class Site:
    """A site whose pages answer as they are told. `asked` are the paths, `headers` those of the last question."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Handler] = {}
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}

    def page(self, path: str, body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None) -> str:
        """Has a path answer this; its address."""

        async def handler(_: server.Request) -> server.Response:
            return server.Response(body=body, status=status, headers=headers or MARKDOWN)

        self.pages[path] = handler
        return self.url + path

    async def answer(self, request: server.Request) -> server.StreamResponse:
        self.asked.append(request.path)
        self.headers = dict(request.headers)
        handler = self.pages.get(request.path)
        return await handler(request) if handler is not None else server.Response(status=404)


@pytest.fixture
async def site() -> AsyncGenerator[Site]:
    app = server.Application()
    found = Site("")
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = server.AppRunner(app)
    await runner.setup()
    place = server.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    assert isinstance(place._server, asyncio.Server)  # pyright: ignore[reportPrivateUsage] - which port it took
    found.url = f"http://127.0.0.1:{place._server.sockets[0].getsockname()[1]}"  # pyright: ignore[reportPrivateUsage] - see above
    yield found
    await runner.cleanup()
