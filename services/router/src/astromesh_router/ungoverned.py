"""A call that nobody ranks, holds back or bills: candidates in declared order, always admitted, without budgets."""

from __future__ import annotations

from functools import partial

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Charge, Usage
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.completion import cost_nanos
from astromesh_router.failures import CandidateFailed
from astromesh_router.ports import Expected, Needs, Ranked, Ranking


class InOrder:
    """Keeps the declared order."""

    def rank(self, pool: Pool, needs: Needs) -> Ranking:
        """See Strategist.rank."""
        order = [
            Ranked(candidate, f"declared as number {number}", partial(_expected, candidate, needs))
            for number, candidate in enumerate(pool.candidates, 1)
        ]
        return Ranking("in_order", tuple(order))

    def replied(
        self, pool: Pool, candidate: Candidate, first_token_seconds: float, seconds: float, usage: Usage
    ) -> None:
        """See Strategist.replied: an order that is kept learns nothing."""

    def failed(self, pool: Pool, candidate: Candidate, seconds: float) -> None:
        """See Strategist.failed: an order that is kept learns nothing."""


class AlwaysAdmitted:
    """Breakers that never open, and the pass that they give."""

    async def admit(self, candidate: Candidate) -> AlwaysAdmitted:
        """See Breakers.admit."""
        del candidate
        return self

    def succeeded(self) -> None:
        """See Pass.succeeded."""

    def failed(self, failure: CandidateFailed) -> None:
        """See Pass.failed."""

    def abandoned(self) -> None:
        """See Pass.abandoned."""


class Unbounded:
    """A purse without budgets, and the reservation that it gives."""

    async def reserve(self, request: CompleteRequest, pool: Pool, ranked: Ranked) -> Unbounded:
        """See Purse.reserve."""
        del request, pool, ranked
        return self

    def settle(self, charge: Charge) -> None:
        """See Reservation.settle."""

    def release(self) -> None:
        """See Reservation.release."""


def _expected(candidate: Candidate, needs: Needs) -> Expected:
    usage = Usage(input_tokens=needs.input_tokens, output_tokens=needs.max_output_tokens, estimated=True)
    return Expected(usage, cost_nanos(usage, candidate.prices))
