"""Speaks to users' own providers. What such a class offers: `provider`; how it is made and kept: `instances`.

Whatever the class raises or returns, the run sees a failure that names it.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, cast

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Usage
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.user_code.foreign import Raised, attempt, attempt_async
from astromesh_core.user_code.modules import Modules
from astromesh_router.candidates import Candidate, Pool, Prices
from astromesh_router.dialects.instances import Instances
from astromesh_router.dialects.port import Part, Reasoning, Reply, Thought, WrittenCall
from astromesh_router.dialects.raised import failure_of
from astromesh_router.failures import failed
from astromesh_router.provider import ProviderProtocol

CUSTOM = "custom"
PRICED: Final = 1000
"""Tokens, for which a class is asked its price: what 1,000 cost is what resources declare."""

ENDING_SECONDS: Final = 5.0
"""How long a class may take to end a stream that nobody reads on."""

FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})


class CustomProviders:
    """Users' own providers as a dialect, and what they say of themselves."""

    def __init__(self, modules: Modules, environ: Mapping[str, str]) -> None:
        """Keys are looked up in `environ` when a provider is made."""
        self._environ = environ
        self._instances = Instances(modules, environ)

    async def introduced(self, pool: Pool) -> Pool:
        """The pool with what users' classes say of themselves, where the resources do not say it.

        A class that is long in the making, or fails, says nothing.
        """
        if not any(candidate.dialect == CUSTOM for candidate in pool.candidates):
            return pool
        introduced = await asyncio.gather(*(self._introduced(candidate) for candidate in pool.candidates))
        return replace(pool, candidates=tuple(introduced))

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        del prefill  # no profile says that a user's class goes on with an answer
        # A copy: whatever a class does to it, the next candidate is asked what the caller asked.
        asked = CompleteRequest()
        asked.CopyFrom(request)
        async with self._instances.lent(candidate) as provider:
            parts = self._parts(candidate, provider, asked)
            try:
                while True:
                    part = await self._next(candidate, parts)
                    yield part
                    if isinstance(part, Reply):
                        return
            finally:
                await _end(parts)

    async def models(self, candidate: Candidate) -> list[str]:
        """None by name, since a class serves what it is made for. Raises CandidateFailed where it is not well, or
        cannot say what it can do."""
        async with self._instances.lent(candidate) as provider:
            try:
                well = await attempt_async(provider.health_check)
                attempt(lambda: (provider.supports_tools(), _prices(provider)))
            except Raised as raised:
                raise failure_of(candidate, raised, self._environ) from raised
        if not well:
            raise failed(candidate, Unavailable, "its health_check says that it is not well")
        return []

    async def close(self) -> None:
        """Closes every provider that can be closed, and forgets their code."""
        await self._instances.close()

    async def _introduced(self, candidate: Candidate) -> Candidate:
        provider = await self._instances.ready(candidate) if candidate.dialect == CUSTOM else None
        if provider is None:
            return candidate
        # Where either raises, a health check says so; the calls themselves may go well.
        if candidate.tools is None:
            with suppress(Raised):
                candidate = replace(candidate, tools=bool(attempt(provider.supports_tools)))
        if not candidate.priced:
            with suppress(Raised):
                candidate = replace(candidate, prices=attempt(lambda: _prices(provider)), priced=True)
        return candidate

    def _parts(
        self, candidate: Candidate, provider: ProviderProtocol, request: CompleteRequest
    ) -> AsyncGenerator[object]:
        try:
            parts: object = attempt(lambda: provider.stream(request))
        except Raised as raised:
            raise failure_of(candidate, raised, self._environ) from raised
        if not inspect.isasyncgen(parts):
            reason = "its stream is no async generator"
            raise failed(candidate, InvalidInput, reason, advice="write `async def` and `yield`")
        return cast("AsyncGenerator[object]", parts)

    async def _next(self, candidate: Candidate, parts: AsyncGenerator[object]) -> Part:
        try:
            part = await attempt_async(lambda: anext(parts, None))
        except Raised as raised:
            raise failure_of(candidate, raised, self._environ) from raised
        if isinstance(part, Reply):
            return _checked(candidate, part)
        if isinstance(part, str) or (isinstance(part, Thought) and _is_text(part.text)):
            return part
        what = "ended without a Reply" if part is None else f"yielded {type(part).__name__}"
        raise failed(candidate, Unavailable, what, advice="see ProviderProtocol.stream")


async def _end(parts: AsyncGenerator[object]) -> None:
    """Ends a stream. What its cleaning up raises says nothing of the answer."""
    with suppress(Raised, TimeoutError):
        async with asyncio.timeout(ENDING_SECONDS):
            await attempt_async(parts.aclose)


def _prices(provider: ProviderProtocol) -> Prices:
    prices = Prices(float(provider.estimated_cost(PRICED, 0)), float(provider.estimated_cost(0, PRICED)))
    if not all(math.isfinite(price) and price >= 0 for price in (prices.input, prices.output)):
        raise InvalidInput(f"its estimated_cost gives {prices.input} and {prices.output}, which are no prices")
    return prices


def _checked(candidate: Candidate, reply: Reply) -> Reply:
    """The reply, its fields being what they should be. Raises CandidateFailed."""
    wrong = [name for name, is_right in _FIELDS.items() if not is_right(getattr(reply, name))]
    if wrong:
        reason, advice = f"gave a Reply with a wrong {', '.join(wrong)}", "see Reply; a call's arguments are JSON text"
        raise failed(candidate, InvalidInput, reason, advice=advice)
    return replace(reply, calls=tuple(reply.calls), reasoning=tuple(reply.reasoning))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_call(value: object) -> bool:
    return isinstance(value, WrittenCall) and all(map(_is_text, (value.id, value.name, value.arguments)))


def _is_reasoning(value: object) -> bool:
    return isinstance(value, Reasoning) and _is_text(value.text) and _is_text(value.signature)


def _each(is_right: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda values: isinstance(values, list | tuple) and all(map(is_right, cast("list[object]", values)))


_FIELDS: Mapping[str, Callable[[object], bool]] = {
    "text": _is_text,
    "calls": _each(_is_call),
    "finish_reason": lambda value: isinstance(value, str) and value in FINISH_REASONS,
    "usage": lambda value: value is None or isinstance(value, Usage),
    "reasoning": _each(_is_reasoning),
}
