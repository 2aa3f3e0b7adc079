"""Calls that change nothing, made again while a service restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from astromesh_core.errors import Bug, Unavailable

SECONDS = 20.0
"""For which a call is made again."""

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What the call answers; a service that restarts costs a run a moment and not its life. Raises Unavailable where
    that takes longer than `SECONDS`, and other errors at once."""
    async for attempt in stamina.retry_context(
        on=Unavailable, attempts=6, timeout=SECONDS, wait_initial=0.1, wait_max=5.0
    ):
        with attempt:
            return await call()
    raise Bug("the retries ended without an outcome")
