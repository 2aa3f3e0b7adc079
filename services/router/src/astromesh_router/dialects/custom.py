"""Speaks to users' own providers. What such a class offers: `provider`; where its code is found: `core.user_code`.

Whatever the class raises, the run sees an error that names it: errors of ours as they are, others as its failure.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import cast

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.errors import AstromeshError, InvalidInput, Unavailable
from astromesh_core.resources.secrets import resolve
from astromesh_core.user_code.foreign import Raised, attempt, attempt_async
from astromesh_core.user_code.modules import Modules
from astromesh_router.candidates import Candidate, Pool, Prices
from astromesh_router.dialects.port import Part, Reply, Thought
from astromesh_router.failures import CandidateFailed, failed
from astromesh_router.provider import ProviderClass, ProviderProtocol

CUSTOM = "custom"
PRICED = 1000
"""Tokens, for which a class is asked its price: what 1,000 cost is what resources declare."""

METHODS = ("complete", "stream", "health_check", "supports_tools", "estimated_cost")


class CustomProviders:
    """The providers made of users' classes: one for each candidate, until its code changes. Also a dialect."""

    def __init__(self, modules: Modules, environ: Mapping[str, str]) -> None:
        """Keys are looked up in `environ` when a provider is made."""
        self._modules = modules
        self._environ = environ
        self._lock = asyncio.Lock()
        self._made: dict[tuple[object, ...], ProviderProtocol] = {}
        self._generation = modules.generation

    async def introduced(self, pool: Pool) -> Pool:
        """The pool with what users' classes say of themselves, where the resources do not say it."""
        if not any(candidate.dialect == CUSTOM for candidate in pool.candidates):
            return pool
        return replace(pool, candidates=tuple([await self._introduced(candidate) for candidate in pool.candidates]))

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        del prefill  # no profile says that a user's class goes on with an answer
        provider = await self._provider(candidate)
        parts = self._parts(candidate, provider, request)
        try:
            while True:
                part = await _calling(candidate, parts)
                if not isinstance(part, str | Thought | Reply):
                    what = "ended without a Reply" if part is None else f"yielded {type(part).__name__}"
                    raise failed(candidate, Unavailable, what, advice="see ProviderProtocol.stream")
                yield part
                if isinstance(part, Reply):
                    return
        finally:
            await parts.aclose()

    async def models(self, candidate: Candidate) -> list[str]:
        """The candidate's own, where its class says that it is well."""
        provider = await self._provider(candidate)
        try:
            well = await attempt_async(provider.health_check)
        except Raised as raised:
            raise _failure(candidate, raised) from raised
        if not well:
            raise failed(candidate, Unavailable, "its health_check says that it is not well")
        return [candidate.model]

    async def close(self) -> None:
        """Closes every provider that can be closed, and forgets their code."""
        await self._forget()
        self._modules.close()

    def _parts(
        self, candidate: Candidate, provider: ProviderProtocol, request: CompleteRequest
    ) -> AsyncGenerator[Part, None]:
        try:
            parts: object = attempt(lambda: provider.stream(request))
        except Raised as raised:
            raise _failure(candidate, raised) from raised
        if not inspect.isasyncgen(parts):
            reason = "its stream is no async generator"
            raise failed(candidate, InvalidInput, reason, advice="write `async def` and `yield`")
        return cast("AsyncGenerator[Part, None]", parts)

    async def _introduced(self, candidate: Candidate) -> Candidate:
        if candidate.dialect != CUSTOM:
            return candidate
        try:
            provider = await self._provider(candidate)
            tools = attempt(provider.supports_tools) if candidate.tools is None else candidate.tools
            prices = attempt(lambda: _prices(provider)) if not candidate.priced else candidate.prices
        except (CandidateFailed, Raised):
            return candidate  # when its turn comes, it fails by name
        return replace(candidate, tools=bool(tools), prices=prices, priced=True)

    async def _provider(self, candidate: Candidate) -> ProviderProtocol:
        async with self._lock:
            if self._modules.due:
                await asyncio.to_thread(self._modules.refresh)
            if self._modules.generation != self._generation:
                self._generation = self._modules.generation
                await self._forget()
            settings = (candidate.model, candidate.endpoint, str(candidate.key), repr(candidate.parameters))
            key = (candidate.provider, *settings)
            if key not in self._made:
                self._made[key] = await asyncio.to_thread(self._make, candidate)
            return self._made[key]

    def _make(self, candidate: Candidate) -> ProviderProtocol:
        try:
            made_by = cast(ProviderClass, self._modules.find(candidate.provider))
            endpoint = resolve(candidate.endpoint, self._environ)
            api_key = resolve(candidate.key, self._environ) if candidate.key else ""
        except AstromeshError as error:
            raise failed(candidate, type(error), error.message) from error
        try:
            provider = attempt(
                lambda: made_by(
                    model=candidate.model, endpoint=endpoint, api_key=api_key, parameters=candidate.parameters
                )
            )
        except Raised as raised:
            raise _failure(candidate, raised) from raised
        missing = [name for name in METHODS if not callable(getattr(provider, name, None))]
        if missing:
            raise failed(candidate, InvalidInput, f"has no {', no '.join(missing)}", advice="see ProviderProtocol")
        return provider

    async def _forget(self) -> None:
        made, self._made = self._made, {}
        for provider in made.values():
            close = getattr(provider, "close", None)
            if close is not None and inspect.iscoroutinefunction(close):
                # It was told; what it holds goes with the process.
                with suppress(Raised):
                    await attempt_async(close)


async def _calling(candidate: Candidate, parts: AsyncGenerator[Part, None]) -> Part | None:
    try:
        return await attempt_async(lambda: anext(parts, None))
    except Raised as raised:
        raise _failure(candidate, raised) from raised


def _prices(provider: ProviderProtocol) -> Prices:
    return Prices(float(provider.estimated_cost(PRICED, 0)), float(provider.estimated_cost(0, PRICED)))


def _failure(candidate: Candidate, raised: Raised) -> CandidateFailed:
    error = raised.error
    if isinstance(error, CandidateFailed):
        return error
    if isinstance(error, AstromeshError):
        wait = error.retry_after
        told = type(error)(f"{candidate.label}: {error.message}", retry_after=wait)
        return CandidateFailed(told, f"failed: {error.code}")
    return failed(candidate, Unavailable, f"raised {raised}")
