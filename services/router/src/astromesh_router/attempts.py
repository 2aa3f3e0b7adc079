"""One attempt at a candidate: leave to make it, and who is told how it ended. Which one, and when: `succession`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh.v1.values_pb2 import Charge, Usage
from astromesh_core.errors import BudgetExceeded, Unavailable
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.completion import charge_of
from astromesh_router.dialects.port import Delta, Reply
from astromesh_router.failures import CandidateFailed
from astromesh_router.ports import Breakers, Pass, Purse, Ranked, Refusal, Reservation, Strategist
from astromesh_router.telling import Telling


@dataclass(frozen=True)
class Governance:
    """Those who rank, admit and pay."""

    strategist: Strategist
    breakers: Breakers
    purse: Purse

    async def leave(self, pool: Pool, request: CompleteRequest, ranked: Ranked) -> tuple[Pass, Reservation]:
        """What an attempt needs. Raises CandidateFailed where the candidate is not to be asked, or not to be paid."""
        candidate = ranked.candidate
        try:
            leave = await self.breakers.admit(candidate)
        except Refusal as refusal:
            error = refusal.kind(f"{candidate.label}: {refusal.reason}", retry_after=refusal.retry_after)
            raise CandidateFailed(error, refusal.reason, asked=False, probed=refusal.probed) from refusal
        try:
            return leave, await self.purse.reserve(request, pool, ranked)
        except (BudgetExceeded, Unavailable) as error:
            leave.abandoned()
            # What comes first says whose budget it is, and what was spent: numbers, no content.
            raise CandidateFailed(error, error.message.partition(";")[0], asked=False) from error
        except BaseException:
            leave.abandoned()
            raise


class Attempt:
    """One attempt, which ends with the block, also where the caller leaves it: exactly then its end is reported."""

    def __init__(
        self,
        pool: Pool,
        candidate: Candidate,
        strategist: Strategist,
        granted: tuple[Pass, Reservation],
        telling: Telling,
        clock: Callable[[], int],
    ) -> None:
        """`clock` counts nanoseconds."""
        self.candidate = candidate
        self._pool = pool
        self._strategist = strategist
        self._pass, self._reservation = granted
        self._telling = telling
        self._clock = clock
        self._begun = clock()
        self._first = 0
        self._completed = False
        self.partial_charge: Charge | None = None
        """Of one that began to answer and broke off."""
        self.prefill = telling.ask(candidate)
        """What the candidate is to go on with."""

    def delta(self, part: Delta) -> list[CompleteResponse]:
        """What to tell of the candidate's next words. Raises CandidateFailed."""
        self._first = self._first or self._clock()
        return self._telling.delta(part)

    def end(self, reply: Reply) -> tuple[list[CompleteResponse], Reply, Charge]:
        """What is left to tell of a complete reply, the reply as a whole, and its price."""
        told, whole = self._telling.end(reply)
        usage = whole.usage or Usage(estimated=True)
        charge = charge_of(self.candidate, usage)
        self._completed = True
        self._pass.succeeded()
        self._reservation.settle(charge)
        first = ((self._first or self._clock()) - self._begun) / 1e9
        self._strategist.replied(self._pool, self.candidate, first, self._seconds(), usage)
        return told, whole, charge

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._completed:
            return
        if isinstance(error, CandidateFailed):
            self._failed(error)
        else:
            # The caller left. Whatever the vendor has worked until now, it charges.
            self._reservation.settle(self._telling.charge_so_far())
            self._pass.abandoned()

    def _failed(self, failure: CandidateFailed) -> None:
        self.partial_charge = self._telling.broke_off(failure)
        if self.partial_charge is None:
            self._reservation.release()
        else:
            self._reservation.settle(self.partial_charge)
        self._pass.failed(failure)
        if failure.blames_endpoint:
            self._strategist.failed(self._pool, self.candidate, self._seconds())

    def _seconds(self) -> float:
        return (self._clock() - self._begun) / 1e9
