"""The providers that are made of users' classes: one for each candidate, until its code changes.

Users' code is imported and called here as it may be: slow, or hanging. So both run in threads that are waited for by
those alone who need what comes of it; a provider is closed when it is replaced and its last call has ended.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final, TypeVar, cast

from astromesh_core.errors import AstromeshError, InvalidInput
from astromesh_core.resources.secrets import resolve
from astromesh_core.telemetry.logs import logger
from astromesh_core.user_code.foreign import Raised, attempt_async
from astromesh_core.user_code.modules import Modules
from astromesh_core.user_code.threads import DaemonThreads
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.raised import failure_of
from astromesh_router.failures import CandidateFailed, failed
from astromesh_router.provider import ProviderClass, ProviderProtocol

MAKING_SECONDS: Final = 5.0
"""How long somebody who can do without a provider waits for it to be made."""

LOOKING_SECONDS: Final = 1.0
"""How long a call waits for the folder to be looked at. It takes milliseconds, unless a module hangs in its import."""

CLOSING_SECONDS: Final = 5.0
FAILURE_STANDS_SECONDS: Final = 5.0
"""After so long a class that could not be made is tried again: a licence server may be back."""

MOST_KEPT: Final = 1024
"""Beyond it the one used longest ago goes, unless it is in use."""

MAKING_THREADS: Final = 8

METHODS: Final = ("complete", "stream", "health_check", "supports_tools", "estimated_cost")

Value = TypeVar("Value")

_log = logger(__name__)


@dataclass(eq=False)
class _Kept:
    """A provider, made or in the making. `users` are the calls that hold it or wait for it."""

    making: asyncio.Task[ProviderProtocol | CandidateFailed]
    begun: float
    users: int = 0
    retired: bool = False

    @property
    def provider(self) -> ProviderProtocol | None:
        """None where it is not made yet, or could not be."""
        if not self.making.done() or self.making.cancelled():
            return None
        made = self.making.result()
        return None if isinstance(made, CandidateFailed) else made

    def failed_before(self, moment: float) -> bool:
        """Whether it could not be made, and that long ago."""
        return self.making.done() and self.provider is None and self.begun < moment


class Instances:
    """Makes, keeps and closes users' providers."""

    def __init__(self, modules: Modules, environ: Mapping[str, str], seconds: Callable[[], float] = monotonic) -> None:
        """Keys are looked up in `environ` when a provider is made."""
        self._modules = modules
        self._environ = environ
        self._seconds = seconds
        # One thread: no two imports at once.
        self._importing = DaemonThreads(1)
        self._making = DaemonThreads(MAKING_THREADS)
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()
        self._generation = modules.generation
        self._looking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lent(self, candidate: Candidate) -> AsyncGenerator[ProviderProtocol]:
        """The candidate's provider, which is not closed within the block. Raises CandidateFailed."""
        await self._look()
        kept = self._of(candidate)
        kept.users += 1
        try:
            if not kept.making.done():
                await asyncio.wait([kept.making])
            made = kept.making.result()
            if isinstance(made, CandidateFailed):
                raise made.with_traceback(None)
            yield made
        finally:
            kept.users -= 1
            self._close_unused(kept)

    async def ready(self, candidate: Candidate) -> ProviderProtocol | None:
        """The candidate's provider, if it is made within five seconds; None where it is not, or cannot be."""
        await self._look()
        kept = self._of(candidate)
        left = kept.begun + MAKING_SECONDS - self._seconds()
        if left > 0 and not kept.making.done():
            await asyncio.wait([kept.making], timeout=left)
        return kept.provider

    async def close(self) -> None:
        """Closes every provider that can be closed, and forgets their code."""
        for kept in self._kept.values():
            kept.making.cancel()
        self._retire_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)
        self._importing.close()
        self._making.close()
        self._modules.close()

    async def _look(self) -> None:
        """Takes up edits. One call looks, as far as others are concerned in vain."""
        if not self._modules.due or (self._looking is not None and not self._looking.done()):
            return
        self._looking = self._spawn(self._take_up_edits())
        await asyncio.wait([self._looking], timeout=LOOKING_SECONDS)

    async def _take_up_edits(self) -> None:
        try:
            await _in(self._importing, self._modules.refresh)
        except Raised as raised:
            _log.warning("users' providers cannot be looked at", reason=str(raised))
        if self._modules.generation != self._generation:
            self._generation = self._modules.generation
            self._retire_all()

    def _of(self, candidate: Candidate) -> _Kept:
        settings = (candidate.model, candidate.endpoint, str(candidate.key), repr(candidate.parameters))
        key = (candidate.provider, *settings)
        kept = self._kept.get(key)
        now = self._seconds()
        if kept is None or kept.failed_before(now - FAILURE_STANDS_SECONDS):
            kept = self._kept[key] = _Kept(asyncio.create_task(self._make(candidate)), now)
            kept.making.add_done_callback(lambda _, kept=kept: self._close_unused(kept))
            self._bound()
        self._kept.move_to_end(key)
        return kept

    async def _make(self, candidate: Candidate) -> ProviderProtocol | CandidateFailed:
        try:
            endpoint = resolve(candidate.endpoint, self._environ)
            api_key = resolve(candidate.key, self._environ) if candidate.key else ""
            found = await _in(self._importing, partial(self._modules.find, candidate.provider))
        except AstromeshError as error:
            return failed(candidate, type(error), error.message)
        except Raised as raised:
            return _not_found(candidate, raised)
        make = partial(
            cast(ProviderClass, found),
            model=candidate.model,
            endpoint=endpoint,
            api_key=api_key,
            parameters=deepcopy(candidate.parameters),  # a class may take out what it has read
        )
        try:
            provider = await _in(self._making, make)
        except Raised as raised:
            return failure_of(candidate, raised, self._environ)
        missing = [name for name in METHODS if not callable(getattr(provider, name, None))]
        if missing:
            return failed(candidate, InvalidInput, f"has no {', no '.join(missing)}", advice="see ProviderProtocol")
        return provider

    def _bound(self) -> None:
        if len(self._kept) > MOST_KEPT:
            idle = next((key for key, kept in self._kept.items() if not kept.users), None)
            if idle is not None:
                self._retire(self._kept.pop(idle))

    def _retire_all(self) -> None:
        all_kept, self._kept = self._kept, OrderedDict[tuple[str, ...], _Kept]()
        for kept in all_kept.values():
            self._retire(kept)

    def _retire(self, kept: _Kept) -> None:
        kept.retired = True
        self._close_unused(kept)

    def _close_unused(self, kept: _Kept) -> None:
        provider = kept.provider
        if kept.retired and not kept.users and provider is not None:
            self._spawn(_closed(provider))

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _in(threads: DaemonThreads, call: Callable[[], Value]) -> Value:
    """What users' code returns, called in one of these threads. Raises Raised."""
    return await asyncio.wrap_future(threads.submit(call))


async def _closed(provider: ProviderProtocol) -> None:
    close: object = getattr(provider, "close", None)
    if not inspect.iscoroutinefunction(close):
        return
    try:
        async with asyncio.timeout(CLOSING_SECONDS):
            await attempt_async(close)
    except (Raised, TimeoutError) as error:
        cause = error.error if isinstance(error, Raised) else error
        _log.warning("a provider did not close", provider=type(provider).__qualname__, reason=type(cause).__name__)


def _not_found(candidate: Candidate, raised: Raised) -> CandidateFailed:
    """Its class is not where it is said to be: the error says where it was looked for."""
    error = raised.error
    assert isinstance(error, AstromeshError), "Modules.find raises nothing else"
    return failed(candidate, type(error), "its class was not found", said=error.message, advice="mend what it names")
