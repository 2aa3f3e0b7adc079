"""What the flow of a call asks of its neighbours: who ranks, who admits, who pays. What each does stands in its module.

    ranking ──▶ for each: admission ──▶ reservation ──▶ attempts ──▶ reports to all three
    Strategist            Breakers      Purse

What a call does without any of them: `ungoverned`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Charge, Usage
from astromesh_core.errors import TemporaryError, Unavailable
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.failures import CandidateFailed


@dataclass(frozen=True)
class Needs:
    """What a request asks of a model. Tokens are estimates; `max_output_tokens` is 0 where nobody sets a bound."""

    count_tokens: Callable[[], int] = field(compare=False, repr=False)
    max_output_tokens: int
    tools: bool
    vision: bool
    structured_output: bool
    detail: bool = False
    """Of a picture it is said how closely to look at it."""

    @cached_property
    def input_tokens(self) -> int:
        """Of the prompt. Counted when somebody wants to know, which a long one makes worth while."""
        return self.count_tokens()


@dataclass(frozen=True)
class Expected:
    """What a request will probably use and cost on one candidate: `usage` is marked as estimated, money in 1e-9 USD."""

    usage: Usage
    cost_nanos: int


@dataclass(frozen=True)
class Ranked:
    """A candidate in its place. `reason` is short, for the route, and quotes nobody."""

    candidate: Candidate
    reason: str
    expect: Callable[[], Expected] = field(compare=False, repr=False)
    """Works out what is expected of it: only a budget, or a price, wants to know."""


@dataclass(frozen=True)
class Ranking:
    """Who is asked in which order, and who is not asked at all, each with its reason."""

    strategy: str
    order: tuple[Ranked, ...]
    excluded: tuple[tuple[Candidate, str], ...] = ()


class Strategist(Protocol):
    """Ranks candidates, and learns from calls."""

    def rank(self, pool: Pool, needs: Needs) -> Ranking:
        """The order in which to ask. Every candidate of the pool stands in it once: in `order` or in `excluded`."""
        ...

    def replied(
        self, pool: Pool, candidate: Candidate, first_token_seconds: float, seconds: float, usage: Usage
    ) -> None:
        """One call was completed by this candidate, after so many seconds from asking it."""
        ...

    def failed(self, pool: Pool, candidate: Candidate, seconds: float) -> None:
        """One attempt failed for which the endpoint is to blame, after so many seconds."""
        ...


class Refusal(Exception):
    """A candidate may not be asked now. `reason` is short and quotes nobody; `retry_after` is in seconds.

    `kind` is the error of a call that has no other candidate: Unavailable for an open circuit, RateLimited for a key
    that its vendor told to wait. `probed`: another call tries the candidate at this moment, and will tell.
    """

    def __init__(
        self, reason: str, retry_after: float, kind: type[TemporaryError] = Unavailable, *, probed: bool = False
    ) -> None:
        super().__init__(reason)
        self.probed = probed
        self.reason = reason
        self.retry_after = retry_after
        self.kind = kind


class Pass(Protocol):
    """Leave to ask a candidate once. Exactly one of these is called for it, and once."""

    def succeeded(self) -> None:
        """A complete reply came."""
        ...

    def failed(self, failure: CandidateFailed) -> None:
        """None came. `failure.blames_endpoint` tells whose fault it is, `failure.error` how long to wait."""
        ...

    def abandoned(self) -> None:
        """The caller left: says nothing about the endpoint."""
        ...


class Breakers(Protocol):
    """Knows which endpoints are worth asking."""

    async def admit(self, candidate: Candidate) -> Pass:
        """Leave for one attempt (each retry asks anew). Raises Refusal.

        Waits only, some milliseconds, until replicas have settled which call tries an endpoint again. Never otherwise.
        """
        ...


class Reservation(Protocol):
    """Money and tokens set aside for one attempt of a call. Ends settled or released, whichever comes first."""

    def settle(self, charge: Charge) -> None:
        """This was spent, estimated or not; the rest goes back. Idempotent."""
        ...

    def release(self) -> None:
        """Nothing was spent. Idempotent; does nothing after `settle`."""
        ...


class Purse(Protocol):
    """Knows what may be spent."""

    async def reserve(self, request: CompleteRequest, pool: Pool, ranked: Ranked) -> Reservation:
        """Sets the expected cost aside; each attempt of a call, at whatever candidate, reserves anew.

        Raises BudgetExceeded, and Unavailable where nobody knows what is left: the call goes on with the next
        candidate, which may cost less. What of the message comes before the first semicolon is the reason in the route.
        """
        ...
