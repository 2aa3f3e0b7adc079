"""Takes commits as the log stores them and writes what they come to, many in one transaction, a moment later.

The position stands in the same transaction as the rows: after a crash the log is read again from there, so nothing is
lost and nothing stands twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import ProjectedCommit
from astromesh_core.errors import TemporaryError
from astromesh_core.readiness import Health
from astromesh_core.telemetry.logs import logger
from astromesh_history.applying import Applier
from astromesh_history.chains import Chain, Chains
from astromesh_history.database import Database
from astromesh_history.writing import write

LINGER_SECONDS = 0.1
"""Between two transactions at least. The first commit after a rest is written at once."""

MOST_PENDING = 4_000
"""Commits that wait to be written; then the log has to wait."""

_SETTLE_SECONDS = 2.0
_RETRY_SECONDS = 1.0

T = TypeVar("T")

_log = logger(__name__)


class Projector:
    """`async with Projector(...)`: takes commits from then on; what it took is written when it is left."""

    def __init__(
        self,
        database: Database,
        chains: Chains,
        applier: Applier,
        reached: Position,
        on_written: Callable[[Iterable[Chain]], None] = lambda _: None,
    ) -> None:
        """`on_written` hears of every chain as it was just written."""
        self._on_written = on_written
        self._database = database
        self._chains = chains
        self._applier = applier
        self._reached = reached
        self._pending: list[ProjectedCommit] = []
        self._taken = 0
        self._written = 0
        self._arrived = asyncio.Event()
        self._hurry = asyncio.Event()
        self._progress = asyncio.Condition()
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="history projector")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.settle()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def handle(self, commits: Sequence[ProjectedCommit]) -> None:
        """Takes the next commits of the log; returns when there is room for more."""
        if not commits:
            return
        self._pending.extend(commits)
        self._taken += len(commits)
        self._arrived.set()
        if len(self._pending) > MOST_PENDING:
            async with self._progress:
                await self._progress.wait_for(lambda: len(self._pending) <= MOST_PENDING)

    async def settle(self) -> None:
        """Returns when everything taken so far is written, or after two seconds: a reader then sees what is there."""
        taken = self._taken
        if self._written >= taken:
            return
        self._hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS), self._progress:
                await self._progress.wait_for(lambda: self._written >= taken)

    def unfinished(self) -> Position | None:
        """Up to where what was taken is written; None where all of it is."""
        return self._reached if self._written < self._taken else None

    async def health(self) -> Health:
        """Red while nothing can be written, and when the projector itself has ended."""
        if self._task is None or self._task.done():
            return Health(False, "the log is not being applied to the read model; restart the history service")
        return Health(not self._trouble, self._trouble)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            commits, self._pending = self._pending, []
            self._arrived.clear()
            self._hurry.clear()
            await self._write(commits)
            async with self._progress:
                self._written += len(commits)
                self._progress.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._hurry.wait()

    async def _write(self, commits: Sequence[ProjectedCommit]) -> None:
        await self._patiently(lambda: self._chains.load(commit.aggregate for commit in commits))
        applied = await self._applier.apply(commits, self._reached)
        await self._patiently(lambda: self._database.call(write, applied.batch))
        self._on_written(applied.chains)
        self._chains.rest(applied.chains)
        self._reached = commits[-1].position

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Repeats what fails for the time being: a full disk is no reason to lose the place in the log."""
        while True:
            try:
                done = await work()
            except TemporaryError as error:
                self._trouble = error.message
                _log.warning("the read model waits", reason=error.message)
                await asyncio.sleep(error.retry_after or _RETRY_SECONDS)
            else:
                self._trouble = ""
                return done
