"""A replica's turns at one record: read it, ask the log where that is due, decide (`turns`), store by compare-and-set.

Without the store nothing is granted: a budget that is open while its store is away would be none. Without the log a
record counts what replicas report, stays in doubt, and takes no slice back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from astromesh.v1.budget_pb2 import BudgetRecord
from astromesh_core.bus.budget_store import StoredBudget
from astromesh_core.errors import Conflict, Unavailable
from astromesh_router.budgets import turns
from astromesh_router.budgets.records import LOOK_NANOS
from astromesh_router.budgets.scopes import Account
from astromesh_router.budgets.slices import Slice
from astromesh_router.budgets.turns import Logged, Turn, Wish
from astromesh_router.budgets.windows import NANOS

KEPT_SECONDS = 2 * 86_400
"""Records outlive their window by so much, for calls that end after it."""

_ATTEMPTS = 100
"""Where many replicas write at once, each write that is refused is another one's that was not."""
_PAUSE_SECONDS = 0.002

Clock = Callable[[], int]
"""Unix time in nanoseconds."""


class Records(Protocol):
    """Where records stand: `core.bus.BudgetStore`."""

    async def get(self, key: str) -> StoredBudget:
        """The record as it is now. Raises Unavailable, TimedOut."""
        ...

    async def put(self, key: str, record: BudgetRecord, *, expected: int, ttl: int) -> int:
        """Stores the record. Raises Conflict where another write came first; after Unavailable or TimedOut it may be
        stored, or may still be."""
        ...


AskLog = Callable[[Account], Awaitable[int | None]]
"""What the log knows to be spent of an account; None where it does not answer."""


class TurnTaker:
    """The turns of one replica, which `holder` names, at one account's record. One at a time."""

    def __init__(self, account: Account, holder: str, records: Records, ask_log: AskLog, now: Clock) -> None:
        self.slice = Slice()
        self.seen = BudgetRecord()
        """The record as the last turn left it."""
        self._account = account
        self._holder = holder
        self._records = records
        self._ask_log = ask_log
        self._now = now
        self._turns = 0
        self._unanswered: dict[Turn, int] = {}
        """The revision that each expected."""
        self._looked = 0
        self._one_at_a_time = asyncio.Lock()

    @property
    def unsettled(self) -> bool:
        """Whether a turn got no answer, so that nobody knows whether it was stored."""
        return bool(self._unanswered)

    async def take(self, wish: Wish) -> bool:
        """One turn; whether there is not enough for the first call that waits.

        Raises Unavailable or TimedOut where the store is away; the next turn finds out what became of this one.
        """
        async with self._one_at_a_time:
            for attempt in range(1, _ATTEMPTS):
                try:
                    return await self._attempt(wish)
                except Conflict:
                    await asyncio.sleep(random.uniform(0, min(attempt, 10) * _PAUSE_SECONDS))
        raise Unavailable("too many replicas write it at once", retry_after=1.0)

    async def _attempt(self, wish: Wish) -> bool:
        stored, own = await self._records.get(self._account.key), self.slice
        self._recall(stored)
        own.withheld = max(own.withheld, min(wish.giving, own.available + own.withheld))
        need = turns.needs_log(stored.record, own, self._holder, self._now())
        looks = need == "now" or (need == "soon" and self._may_look(0))
        turn = self._turn(stored.record, wish, await self._look() if looks else None)
        if turn.refused and turn.record.doubted_unix_nano and self._may_look(turn.record.looked_unix_nano):
            # Before anybody is refused: of what was found at the last look, some may be reported by now.
            turn = self._turn(stored.record, wish, await self._look())
        self.seen = turn.record
        if turn.worth_storing:
            await self._store(turn, stored.revision)
        elif not self._unanswered:
            own.withheld = 0
        return turn.refused

    def _turn(self, record: BudgetRecord | None, wish: Wish, logged: Logged | None) -> Turn:
        self._turns += 1
        return turns.turn_of(record, self.slice, self._holder, self._turns, wish, logged, self._now())

    async def _store(self, turn: Turn, revision: int) -> None:
        self._unanswered[turn] = revision
        ttl = max(0, self._account.window.end - turn.time) // NANOS + KEPT_SECONDS
        try:
            await self._records.put(self._account.key, turn.record, expected=revision, ttl=ttl)
        except Conflict:
            del self._unanswered[turn]
            raise
        self._settle(turn)

    def _recall(self, stored: StoredBudget) -> None:
        """Learns what became of turns that got no answer. They may still be stored while the record is as they expected
        it."""
        turn = turns.stored_of(stored.record, self._holder, self._unanswered)
        if turn is not None and self._unanswered[turn] != stored.revision:
            self._settle(turn)
        elif stored.revision not in self._unanswered.values():
            self._settle(None)

    def _settle(self, turn: Turn | None) -> None:
        """Nothing is unanswered any more: this turn was stored, or None where none was. What was withheld is given back
        with it, or is not to be."""
        if turn is not None:
            turns.settle(self.slice, turn)
        self._unanswered.clear()
        self.slice.withheld = 0

    def _may_look(self, looked: int) -> bool:
        """Whether nobody looked into the log for a while: this replica, or another one at the time given."""
        return self._now() - max(looked, self._looked) >= LOOK_NANOS

    async def _look(self) -> Logged | None:
        """What the log knows; None where it does not answer."""
        unreported = self.slice.spent
        self._looked = self._now()
        spent = await self._ask_log(self._account)
        return None if spent is None else Logged(spent, unreported)
