"""An account as one replica keeps it: calls take from its slice without asking anybody, and wait for a turn at the
record where that does not suffice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from astromesh_core.errors import AstromeshError, TemporaryError, Unavailable
from astromesh_router.budgets.records import free, set_aside, spent_of
from astromesh_router.budgets.refusals import exceeded
from astromesh_router.budgets.scopes import Account, Bound
from astromesh_router.budgets.turning import AskLog, Clock, Records, TurnTaker
from astromesh_router.budgets.turns import Wish
from astromesh_router.budgets.windows import NANOS

REFUSED_NANOS = NANOS
"""For so long a refusal holds without asking again: a spent budget costs its store nothing."""


@dataclass(eq=False, slots=True)
class _Waiting:
    call: str
    amount: int
    bound: Bound
    served: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Refused:
    """The amount that did not fit under a limit, and until when that is not asked again."""

    amount: int
    limit: int
    until: int

    def holds(self, amount: int, limit: int, now: int) -> bool:
        return now < self.until and amount >= self.amount and limit <= self.limit


class SharedAccount:
    """What this replica holds of an account. `holder` names the replica."""

    def __init__(self, account: Account, holder: str, records: Records, ask_log: AskLog, now: Clock) -> None:
        self.account = account
        self._holder = holder
        self._now = now
        self._turns = TurnTaker(account, holder, records, ask_log, now)
        self._slice = self._turns.slice
        self._limit = 0
        self._refused = _Refused(0, 0, 0)
        self._waiting: list[_Waiting] = []
        self._server: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is held, owed or waited for."""
        return self._slice.empty and not self._waiting and not self._turns.unsettled

    async def reserve(self, call: str, amount: int, bound: Bound) -> None:
        """Sets an amount aside for a call. Raises BudgetExceeded, and Unavailable where the store is away."""
        now = self._now()
        if not self._waiting and self._allows(amount, bound.limit) and self._slice.reserve(call, amount, now):
            return
        if self._refused.holds(amount, bound.limit, now):
            raise self._exceeded(bound, amount)
        waiting = _Waiting(call, amount, bound, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._server is None or self._server.done():
            self._server = asyncio.create_task(self._serve(), name=f"budget {self.account.key}")
            self._server.add_done_callback(self._served)
        try:
            await waiting.served
        except asyncio.CancelledError:
            # It may have been served already, and its caller left before it heard of it.
            self._slice.release(call)
            raise

    def settle(self, call: str, cost: int) -> None:
        """The call cost this. Settling twice changes nothing."""
        self._slice.settle(call, cost)

    async def keep(self) -> None:
        """Renews what is in use, tells what was spent, gives back what is not needed. To be called every two seconds.

        Raises Unavailable or TimedOut: then it is done at a later call.
        """
        own, now = self._slice, self._now()
        over = now >= self.account.window.end
        giving = max(0, own.available) if over else own.surplus(free(self._turns.seen, self._limit), now)
        owing = bool(own.spent) and (over or not own.granted)
        if giving or owing or own.renewal_due(now) or self._turns.unsettled:
            await self._turns.take(Wish(limit=self._limit, giving=giving))

    async def close(self) -> None:
        """Tells what was spent and gives back everything but what calls under way need. Raises like `keep`."""
        if not self.idle:
            await self._turns.take(Wish(limit=self._limit, giving=max(0, self._slice.available)))

    def _allows(self, amount: int, limit: int) -> bool:
        """Whether a slice that was granted under another limit may be spent under this one."""
        own = self._slice
        return spent_of(self._turns.seen) + own.spent + own.in_flight + amount <= limit

    async def _serve(self) -> None:
        while self._waiting:
            self._limit = limit = self._waiting[0].bound.limit
            amounts = tuple(each.amount for each in self._waiting if each.bound.limit == limit)
            try:
                refused = await self._turns.take(Wish(amounts, limit))
            except TemporaryError as error:
                reason = f"what is left of the budget of {self.account.scope.told} is not known; {error.message}"
                self._end_waiting(Unavailable(reason, retry_after=error.retry_after or 1.0))
                return
            self._deal(limit, amounts[0], refused)

    def _served(self, task: asyncio.Task[None]) -> None:
        """Lets nobody wait whom a fault of ours left unserved, or the end of the process."""
        fault = asyncio.CancelledError() if task.cancelled() else task.exception()
        if fault is not None and task is self._server:
            self._end_waiting(fault)

    def _deal(self, limit: int, first: int, refused: bool) -> None:
        """Serves the calls that wait under this limit in their order. After a refusal none of the first one's size or
        more is left waiting."""
        now = self._now()
        if refused:
            self._refused = _Refused(first, limit, now + REFUSED_NANOS)
        left: list[_Waiting] = []
        for each in (each for each in self._waiting if not each.served.done()):
            if each.bound.limit != limit:
                left.append(each)
            elif not self._allows(each.amount, limit) or (refused and each.amount >= first):
                each.served.set_exception(self._exceeded(each.bound, each.amount))
            elif self._slice.reserve(each.call, each.amount, now):
                each.served.set_result(None)
            else:
                left.append(each)
        self._waiting = left

    def _end_waiting(self, fault: BaseException) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.served.done():
                each.served.set_exception(fault)

    def _exceeded(self, bound: Bound, amount: int) -> AstromeshError:
        seen, own = self._turns.seen, self._slice
        others = set_aside(seen, but=self._holder) + own.in_flight
        return exceeded(bound, spent_of(seen) + own.spent, others, amount, self._now())
