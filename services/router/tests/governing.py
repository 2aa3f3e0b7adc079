"""Those who rank, admit and pay, as recorders of what they were told."""

from __future__ import annotations

from dataclasses import dataclass, field

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Charge, Usage
from astromesh_core.errors import BudgetExceeded
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.failures import CandidateFailed
from astromesh_router.ports import Needs, Ranked, Ranking, Refusal
from astromesh_router.ungoverned import InOrder


@dataclass
class Recorder:
    """Strategist, breakers and purse in one; `told` holds what they were told, in order.

    Models in `shut` are not admitted, those in `dear` are beyond the budget, those in `unfit` are excluded.
    """

    shut: dict[str, Refusal] = field(default_factory=dict[str, Refusal])
    dear: set[str] = field(default_factory=set[str])
    unfit: dict[str, str] = field(default_factory=dict[str, str])
    told: list[str] = field(default_factory=list[str])
    charges: list[Charge] = field(default_factory=list[Charge])
    given: list[Ending] = field(default_factory=lambda: list[Ending]())

    def rank(self, pool: Pool, needs: Needs) -> Ranking:
        ranking = InOrder().rank(pool, needs)
        order = tuple(ranked for ranked in ranking.order if ranked.candidate.model not in self.unfit)
        excluded = tuple((each, self.unfit[each.model]) for each in pool.candidates if each.model in self.unfit)
        return Ranking("recorded", order, excluded)

    def replied(
        self, pool: Pool, candidate: Candidate, first_token_seconds: float, seconds: float, usage: Usage
    ) -> None:
        assert 0 <= first_token_seconds <= seconds
        self.told.append(f"{candidate.model} replied")

    def failed(self, pool: Pool, candidate: Candidate, seconds: float) -> None:
        self.told.append(f"{candidate.model} to blame")

    async def admit(self, candidate: Candidate) -> RecordedPass:
        if candidate.model in self.shut:
            raise self.shut[candidate.model]
        given = RecordedPass(self, candidate)
        self.given.append(given)
        return given

    async def reserve(self, request: CompleteRequest, pool: Pool, ranked: Ranked) -> RecordedReservation:
        if ranked.candidate.model in self.dear:
            raise BudgetExceeded("2 of 2 USD spent, until midnight")
        given = RecordedReservation(self, ranked.candidate)
        self.given.append(given)
        return given


@dataclass
class Ending:
    """What is given for one attempt, and ends once."""

    recorder: Recorder
    candidate: Candidate
    ended: bool = False

    def end(self, how: str) -> None:
        assert not self.ended, "exactly one end"
        self.ended = True
        self.recorder.told.append(f"{self.candidate.model} {how}")


class RecordedPass(Ending):
    """Leave for an attempt."""

    def succeeded(self) -> None:
        self.end("passed")

    def failed(self, failure: CandidateFailed) -> None:
        self.end(f"failed {failure.error.code}")

    def abandoned(self) -> None:
        self.end("abandoned")


class RecordedReservation(Ending):
    """Money for an attempt."""

    def settle(self, charge: Charge) -> None:
        self.recorder.charges.append(charge)
        self.end("settled")

    def release(self) -> None:
        self.end("released")
