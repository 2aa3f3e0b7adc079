"""Keeps the ledger of remembered runs in step with the log, and lets readers wait until it is far enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import AstromeshError, Unavailable
from astromesh_memory.changes import Commit
from astromesh_memory.runs.changes import Ended, changes_of
from astromesh_memory.runs.ledger import LedgerChange, RunRow, Touched
from astromesh_memory.runs.thread import LedgerThread

READ_AT_ONCE: Final = 32
"""Runs that ended and are read back at a time."""

SAVE_EVERY: Final = 1_000
"""Commits without a change after which the position is saved all the same: that many are read again at most."""

_BEHIND: Final = "memory has not caught up with the session's last run yet"


class Rows(Protocol):
    """Where the row of a run that has ended is made."""

    async def row(self, aggregate: Aggregate, position: bytes) -> RunRow | None:
        """The run's row; None where nothing can be remembered of it."""
        ...


class RunFollower:
    """Applies commits in the order of the log. One batch at a time: the feed waits for `handle`."""

    def __init__(
        self,
        ledger: LedgerThread,
        rows: Rows,
        position: Position,
        open_runs: set[str],
        tell: Callable[[Touched, Position], None],
    ) -> None:
        """`tell` hears of every run of which something else is remembered now, before `reached` says so."""
        self._ledger = ledger
        self._rows = rows
        self._applied = position
        self._open = open_runs
        self._tell = tell
        self._unsaved = 0
        self.trouble = ""
        """Why the log cannot be applied at present."""
        self._moved = asyncio.Condition()
        self.standing = asyncio.Lock()
        """Whoever holds it sees a ledger that does not change, at `applied`."""

    @property
    def applied(self) -> Position:
        """How far the log is applied."""
        return self._applied

    async def handle(self, commits: Sequence[Commit]) -> None:
        """Applies a batch; returns when it is stored, with its position in the same transaction."""
        async with self.standing:
            fresh = [commit for commit in commits if commit.position > self._applied]
            try:
                if fresh:
                    await self._apply(fresh)
                self.trouble = ""
            except AstromeshError as error:
                self.trouble = error.message
                raise
            finally:
                async with self._moved:
                    self._moved.notify_all()

    async def recount(self) -> None:
        """Looks again which runs are at work, after somebody else wrote to the ledger."""
        self._open = await self._ledger.open_runs()

    async def save(self) -> None:
        """Stores how far the log is applied, which `handle` puts off while nothing changes."""
        if self._unsaved:
            await self._ledger.apply((), self._applied)
            self._unsaved = 0

    async def reached(self, position: Position, seconds: float) -> None:
        """Returns once the log is applied up to `position`.

        Raises Unavailable when that takes longer, and at once where it cannot be applied at present.
        """
        if position <= self._applied:
            return
        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(lambda: position <= self._applied or bool(self.trouble))
        except TimeoutError:
            raise Unavailable(_BEHIND, retry_after=1.0) from None
        if position > self._applied:
            raise Unavailable(self.trouble or _BEHIND, retry_after=1.0)

    async def _apply(self, commits: Sequence[Commit]) -> None:
        position = commits[-1].position
        found = list(changes_of(commits, self._open.__contains__))
        changes = list[LedgerChange]()
        for part in (found[start : start + READ_AT_ONCE] for start in range(0, len(found), READ_AT_ONCE)):
            changes += await asyncio.gather(*map(self._of_ledger, part))
        self._unsaved += len(commits)
        if changes or self._unsaved >= SAVE_EVERY:
            touched = await self._ledger.apply(changes, position)
            self._unsaved = 0
            self._open = await self._ledger.open_runs() if changes else self._open
            for one in touched:
                self._tell(one, position)
        self._applied = position

    async def _of_ledger(self, change: LedgerChange) -> LedgerChange:
        """What the ledger takes: of a run that ended, its row."""
        if not isinstance(change, Ended):
            return change
        return await self._rows.row(change.aggregate, change.position) or change
