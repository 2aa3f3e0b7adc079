"""Names that lead somewhere else the second time: what is judged is what is connected to."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from astromesh_core import outbound
from astromesh_core.outbound import Outbound
from astromesh_core.public_addresses import LeadsInside

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
"""Both are this machine; for these tests the first counts as the world."""


class Changing(AbstractResolver):
    """Answers each question with the next of its addresses."""

    def __init__(self, *hosts: str) -> None:
        self._left = list(hosts)

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:  # pyright: ignore[reportIncompatibleMethodOverride] - aiohttp passes a plain int
        here = self._left.pop(0)
        return [ResolveResult(hostname=host, host=here, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is open."""


def is_outside(address: str) -> bool:
    return address == OUTSIDE


@pytest.mark.parametrize("kept", [True, False])
async def test_a_name_that_leads_inside_the_second_time_is_refused(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    asked = list[str]()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.host)
        return web.Response(text="hello", headers={"Connection": "close"})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, OUTSIDE, 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setattr(outbound, "is_public", is_outside)
    monkeypatch.setattr(aiohttp, "ThreadedResolver", lambda: Changing(OUTSIDE, INSIDE, OUTSIDE))
    try:
        async with Outbound("test") as outside:
            session = outside.session(allow_private=False, kept=kept)
            url = f"http://changing.example:{port}/"
            async with session.get(url) as first:
                assert await first.text() == "hello"
            with pytest.raises(LeadsInside):
                await session.get(url)
            async with session.get(url) as third:
                assert third.status == 200
    finally:
        await runner.cleanup()
    assert len(asked) == 2
