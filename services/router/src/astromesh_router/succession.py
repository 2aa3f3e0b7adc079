"""Who is asked next for a call, and what became of each candidate.

next ──▶ refused (no leave, no money) ──▶ the next one
     └─▶ attempt ──▶ failed ──▶ once more, after a pause │ the next one
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, Completion
from astromesh.v1.values_pb2 import Route, RouteStep
from astromesh_core.errors import AstromeshError, InvalidInput, RateLimited
from astromesh_core.rpc.deadlines import remaining
from astromesh_router.attempts import Attempt, Governance
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.completion import assistant_message
from astromesh_router.dialects.port import Part, Reply
from astromesh_router.failures import CandidateFailed, none_answered
from astromesh_router.ports import Pass, Ranked, Ranking, Reservation
from astromesh_router.retrying import pause_before
from astromesh_router.telling import Telling

AWAITED_EVERY: Final = 0.05
"""Seconds between two looks at whether a call that tries an endpoint again has ended."""


@dataclass
class Outcome:
    """What became of a candidate that gave no reply."""

    candidate: Candidate
    failure: CandidateFailed
    attempts: int

    def step(self) -> RouteStep:
        """The same for the route."""
        times = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        return RouteStep(
            provider=self.candidate.provider,
            model=self.candidate.model,
            endpoint=self.candidate.endpoint,
            error_class=self.failure.error.code if self.failure.asked else "",
            reason=f"{self.failure.reason}{times}",
        )


class Succession:
    """Leads one call from candidate to candidate."""

    def __init__(
        self,
        pool: Pool,
        request: CompleteRequest,
        ranking: Ranking,
        governance: Governance,
        telling: Telling,
        clock: Callable[[], int],
    ) -> None:
        """`clock` counts nanoseconds."""
        self._pool = pool
        self._request = request
        self._ranking = ranking
        self._governance = governance
        self._telling = telling
        self._clock = clock
        self._left = deque(ranking.order)
        self._current: Ranked | None = None
        self._retries = 0
        self._pause: float | None = None
        self._end = 0.0
        self._outcomes: list[Outcome] = []

    async def next(self) -> Attempt | None:
        """The next attempt, after the pause that it needs; None when nobody is left."""
        while True:
            if self._pause is None:
                if not self._left:
                    return None
                self._turn_to(self._left.popleft())
            elif self._pause:
                await asyncio.sleep(self._pause)
            attempt = await self._attempt()
            if attempt is not None:
                return attempt

    @property
    def seconds_left(self) -> float:
        """How long the candidate whose turn it is may take still, all its attempts together."""
        return self._end - self._clock() / 1e9

    def told(self, attempt: Attempt, part: Part) -> list[CompleteResponse]:
        """What the caller is told of the next part of a reply, the completion included. Raises CandidateFailed."""
        if not isinstance(part, Reply):
            return attempt.delta(part)
        left, whole, charge = attempt.end(part)
        completion = Completion(
            message=assistant_message(whole, self._request),
            finish_reason=whole.finish_reason,
            charge=charge,
            route=self.route(self._current),
            time_to_first_token_nano=self._telling.first_told,
        )
        return [*left, CompleteResponse(completion=completion)]

    def failed(self, attempt: Attempt, failure: CandidateFailed) -> list[CompleteResponse]:
        """Notes how an attempt failed; what the caller has to know of it."""
        self._note(failure)
        if self._telling.begins_anew(failure):
            self._pause = 0.0
        else:
            self._pause = None if self._telling.told else self._pause_after(failure)
        charge = attempt.partial_charge
        return [] if charge is None else [CompleteResponse(partial_charge=charge)]

    def error(self) -> AstromeshError:
        """The error of a call that no candidate answered."""
        if self._outcomes:
            return none_answered([outcome.failure for outcome in self._outcomes])
        told = "; ".join(f"{candidate.label}: {reason}" for candidate, reason in self._ranking.excluded)
        return InvalidInput(f"no model of this agent can be asked this: {told}")

    def _turn_to(self, ranked: Ranked) -> None:
        self._current = ranked
        self._retries = 0
        self._pause = None
        self._end = self._clock() / 1e9 + ranked.candidate.patience.whole

    async def _attempt(self) -> Attempt | None:
        """An attempt at the candidate whose turn it is, if it may be made."""
        assert self._current is not None
        candidate = self._current.candidate
        try:
            granted = await self._leave(self._current)
        except CandidateFailed as failure:
            self._note(failure)
            # A key that has to wait a moment is waited for; an open circuit would be for nothing.
            self._pause = self._pause_after(failure) if isinstance(failure.error, RateLimited) else None
            return None
        return Attempt(self._pool, candidate, self._governance.strategist, granted, self._telling, self._clock)

    async def _leave(self, ranked: Ranked) -> tuple[Pass, Reservation]:
        """What an attempt needs. Where nobody else is left, and another call just tries this one, its end is awaited.

        Raises CandidateFailed.
        """
        while True:
            try:
                return await self._governance.leave(self._pool, self._request, ranked)
            except CandidateFailed as failure:
                if self._left or not failure.probed or min(self.seconds_left, remaining()) <= AWAITED_EVERY:
                    raise
            await asyncio.sleep(AWAITED_EVERY)

    def _note(self, failure: CandidateFailed) -> None:
        assert self._current is not None
        candidate = self._current.candidate
        last = self._outcomes[-1] if self._outcomes else None
        if last is None or last.candidate is not candidate:
            self._outcomes.append(Outcome(candidate, failure, 1))
        elif failure.asked:
            # A retry that was not let through says less than the failure before it.
            last.failure = failure
            last.attempts += 1

    def _pause_after(self, failure: CandidateFailed) -> float | None:
        assert self._current is not None
        self._retries += 1
        if self._retries > self._current.candidate.max_retries:
            return None
        left = min(self.seconds_left, remaining())
        return pause_before(failure, self._retries, left, others_left=bool(self._left))

    def route(self, chosen: Ranked | None = None) -> Route:
        """What became of every candidate; `chosen` is the one that answered, if any did."""
        steps = [
            outcome.step() for outcome in self._outcomes if not chosen or outcome.candidate is not chosen.candidate
        ]
        if chosen is not None:
            steps.append(_step(chosen.candidate, self._chosen_because(), chosen=True))
        steps.extend(_step(ranked.candidate, ranked.reason) for ranked in self._left)
        steps.extend(_step(candidate, reason) for candidate, reason in self._ranking.excluded)
        return Route(strategy=self._ranking.strategy, steps=steps)

    def _chosen_because(self) -> str:
        assert self._current is not None
        last = self._outcomes[-1] if self._outcomes else None
        before = last is not None and last.candidate is self._current.candidate
        told = f"; before, it {last.step().reason}" if last is not None and before else ""
        return f"{self._current.reason}{told}{'; went on with the text so far' if self._telling.goes_on else ''}"


def _step(candidate: Candidate, reason: str, *, chosen: bool = False) -> RouteStep:
    return RouteStep(
        provider=candidate.provider,
        model=candidate.model,
        endpoint=candidate.endpoint,
        chosen=chosen,
        reason=reason,
    )
