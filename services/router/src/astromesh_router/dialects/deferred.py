"""Puts off what a dialect needs until it is first used: the HTTP stack alone takes a tenth of a cold start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.port import Dialect, Part


class Deferred:
    """A dialect that `make` makes at its first use. `make` may import: it runs in a thread, perhaps twice at once."""

    def __init__(self, make: Callable[[], Dialect]) -> None:
        self._make = make
        self._made: Dialect | None = None

    def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        made = self._made
        return made.stream(candidate, request, prefill=prefill) if made else self._first(candidate, request, prefill)

    async def models(self, candidate: Candidate) -> list[str]:
        return await (self._made or await self._dialect()).models(candidate)

    async def _first(self, candidate: Candidate, request: CompleteRequest, prefill: str) -> AsyncGenerator[Part, None]:
        dialect = await self._dialect()
        async with aclosing(dialect.stream(candidate, request, prefill=prefill)) as parts:
            async for part in parts:
                yield part

    async def _dialect(self) -> Dialect:
        made = await asyncio.to_thread(self._make)
        self._made = self._made or made
        return self._made
