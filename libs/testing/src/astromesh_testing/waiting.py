"""Waiting for what nobody announces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(found: Callable[[], Awaitable[T]], seconds: float = 10.0, pause: float = 0.02) -> T:
    """What `found` answers, once that is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await found()
            if answer:
                return answer
            await asyncio.sleep(pause)
