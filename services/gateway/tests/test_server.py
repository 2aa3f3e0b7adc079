"""Serving HTTP: what it costs while nobody asks, and how fast it ends."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvicorn
from fastapi import FastAPI

from astromesh_gateway.server import serving


async def test_it_looks_up_once_a_second_and_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    on_tick, ticks = uvicorn.Server.on_tick, list[float]()

    async def counted(self: uvicorn.Server, counter: int) -> bool:
        ticks.append(time.monotonic())
        return await on_tick(self, counter)

    monkeypatch.setattr(uvicorn.Server, "on_tick", counted)
    async with serving(FastAPI(), "127.0.0.1", 0, 1):
        await asyncio.sleep(1.5)
        assert len(ticks) == 2
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 0.8
