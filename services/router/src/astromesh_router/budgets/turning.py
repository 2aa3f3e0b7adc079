"""A replica's turns at one record: read it, ask the log where that is due, decide (`turns`), store by compare-and-set.

Without the store nothing is granted: a budget that is open while its store is away would be none. Without the log a
record counts what replicas report, stays in doubt, and takes no slice back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from astromesh.v1.budget_pb2 import BudgetRecord
from astromesh_core.bus.budget_store import StoredBudget
from astromesh_core.errors import Conflict, Unavailable
from astromesh_router.budgets import turns
from astromesh_router.budgets.records import LEASE_NANOS, MARGIN_NANOS
from astromesh_router.budgets.scopes import Account
from astromesh_router.budgets.slices import Slice
from astromesh_router.budgets.turns import Logged, Turn, Wish
from astromesh_router.budgets.windows import NANOS

KEPT_SECONDS = 2 * 86_400
"""Records outlive their window by so much, for calls that end after it."""

CHECK_NANOS = 10 * NANOS
"""How often a replica asks the log about a record in doubt."""

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


class _Sent(NamedTuple):
    revision: int
    """Which it expected."""
    time: int


class TurnTaker:
    """The turns of one replica, which `holder` names, at one account's record. One at a time."""

    def __init__(self, account: Account, holder: str, records: Records, ask_log: AskLog, now: Clock) -> None:
        self.slice = Slice()
        self.seen = BudgetRecord()
        """The record as the last turn left it."""
        self._account = account
        self._holder = holder
        self._records = records
        self._ask = ask_log
        self._now = now
        self._turns = 0
        self._unanswered: dict[Turn, _Sent] = {}
        self._checked = 0
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
        logged = await self._ask_log(stored.record)
        now = self._now()
        self._turns += 1
        turn = turns.turn_of(stored.record, own, self._holder, self._turns, wish, logged, now)
        self.seen = turn.record
        if turn.worth_storing:
            await self._store(turn, stored.revision, now)
        elif not self._unanswered:
            own.withheld = 0
        return turn.refused

    async def _store(self, turn: Turn, revision: int, now: int) -> None:
        self._unanswered[turn] = _Sent(revision, now)
        ttl = max(0, self._account.window.end - now) // NANOS + KEPT_SECONDS
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
        if turn is not None and self._unanswered[turn].revision != stored.revision:
            self._settle(turn)
        elif all(sent.revision != stored.revision for sent in self._unanswered.values()):
            self._settle(None)

    def _settle(self, turn: Turn | None) -> None:
        """Nothing is unanswered any more: this turn was stored, or None where none was. What was withheld is given back
        with it, or is not to be."""
        if turn is not None:
            turns.settle(self.slice, turn)
            self.slice.until = self._unanswered[turn].time + LEASE_NANOS - MARGIN_NANOS
        self._unanswered.clear()
        self.slice.withheld = 0

    async def _ask_log(self, record: BudgetRecord | None) -> Logged | None:
        """What the log knows, where it has to be asked. About a lasting doubt it is asked now and then."""
        now, unreported = self._now(), self.slice.spent
        need = turns.need_of_log(record, self.slice, self._holder, now)
        if need == "none" or (need == "some" and now - self._checked < CHECK_NANOS):
            return None
        self._checked = now
        spent = await self._ask(self._account)
        return None if spent is None else Logged(spent, unreported)
