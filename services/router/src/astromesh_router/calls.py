"""Drives a call through the candidates until one gives a complete reply. How a model is asked: `dialects`; who ranks,
admits and pays: `ports`.

Rules: a candidate that fails before its first text is passed over silently; one that fails after it is followed by a
Restart, which makes the text so far void. The completion comes last and once. When none answered, the most hopeful
error is raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, Completion, Restart
from astromesh.v1.values_pb2 import Charge, Route, RouteStep
from astromesh_core.errors import BudgetExceeded, InvalidInput, NotSupported
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.completion import assistant_message, cost_nanos, estimated_usage
from astromesh_router.deadlines import in_time
from astromesh_router.dialects.port import Delta, Dialect, Reply, Thought
from astromesh_router.failures import CandidateFailed, failed, none_answered
from astromesh_router.measuring import Meter
from astromesh_router.needs import needs_of
from astromesh_router.ports import Breakers, Pass, Purse, Ranked, Ranking, Refusal, Reservation, Strategist
from astromesh_router.ungoverned import AlwaysAdmitted, InOrder, Unbounded


class Calls:
    """Completes requests, each with the first candidate that can."""

    def __init__(
        self,
        dialects: Mapping[str, Dialect],
        telemetry: Telemetry,
        *,
        strategist: Strategist | None = None,
        breakers: Breakers | None = None,
        purse: Purse | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`clock` counts nanoseconds."""
        self._dialects = dialects
        self._strategist = strategist or InOrder()
        self._breakers = breakers or AlwaysAdmitted()
        self._purse = purse or Unbounded()
        self._clock = clock
        self._meter = Meter(telemetry, clock)

    async def complete(self, pool: Pool, request: CompleteRequest) -> AsyncGenerator[CompleteResponse, None]:
        """Yields what the contract's Complete yields. Closing the generator stops the model. Raises AstromeshError."""
        if not pool.candidates:
            raise InvalidInput("the agent names no model")
        ranking = self._strategist.rank(pool, needs_of(request))
        call = Call(request, ranking, self._clock)
        for ranked in ranking.order:
            candidate = ranked.candidate
            try:
                asked = await self._leave_to_ask(pool, request, ranked)
                with asked, self._meter.attempt(candidate, request) as attempted:
                    async with aclosing(
                        in_time(self.dialect(candidate).stream(candidate, request), candidate)
                    ) as parts:
                        async for part in parts:
                            attempted.note(part)
                            if isinstance(part, Reply):
                                completed = call.completed(ranked, part)
                                asked.completed(completed.completion)
                                yield completed
                                return
                            if part:
                                yield call.delta(part)
            except CandidateFailed as failure:
                restart = call.failed(candidate, failure)
                if restart and ranked is not ranking.order[-1]:
                    yield restart
        raise call.none_answered()

    def dialect(self, candidate: Candidate) -> Dialect:
        """How a candidate is talked to. Raises CandidateFailed for a dialect that is not built."""
        dialect = self._dialects.get(candidate.dialect)
        if dialect is None:
            raise failed(candidate, NotSupported, f"the {candidate.dialect} dialect is not built here")
        return dialect

    async def _leave_to_ask(self, pool: Pool, request: CompleteRequest, ranked: Ranked) -> Asking:
        """A place at a candidate. Raises CandidateFailed where there is no money for it, or it is not to be asked."""
        try:
            reservation = await self._purse.reserve(request, pool, ranked)
        except BudgetExceeded as error:
            raise CandidateFailed(error, "is beyond the budget", asked=False) from error
        try:
            leave = await self._breakers.admit(ranked.candidate)
        except Refusal as refusal:
            reservation.release()
            message = f"{ranked.candidate.label}: {refusal.reason}"
            error = refusal.kind(message, retry_after=refusal.retry_after)
            raise CandidateFailed(error, refusal.reason, asked=False) from refusal
        except asyncio.CancelledError:
            reservation.release()
            raise
        return Asking(pool, ranked.candidate, leave, reservation, self._strategist, self._clock)


class Asking:
    """One attempt at a candidate, as those see it who rank, admit and pay: they are told how it ended, at its end."""

    def __init__(
        self,
        pool: Pool,
        candidate: Candidate,
        leave: Pass,
        reservation: Reservation,
        strategist: Strategist,
        clock: Callable[[], int],
    ) -> None:
        self._pool = pool
        self._candidate = candidate
        self._pass = leave
        self._reservation = reservation
        self._strategist = strategist
        self._clock = clock
        self._begun = clock()
        self._completed = False

    def completed(self, completion: Completion) -> None:
        """The attempt gave this."""
        self._completed = True
        self._pass.succeeded()
        self._reservation.settle(completion.charge)
        seconds = self._seconds()
        first = min(completion.time_to_first_token_nano / 1e9, seconds)
        self._strategist.replied(self._pool, self._candidate, first, seconds, completion.charge.usage)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._completed:
            return
        self._reservation.release()
        if not isinstance(error, CandidateFailed):
            self._pass.abandoned()
            return
        self._pass.failed(error)
        if error.blames_endpoint:
            self._strategist.failed(self._pool, self._candidate, self._seconds())

    def _seconds(self) -> float:
        return (self._clock() - self._begun) / 1e9


class Call:
    """One call on its way through the candidates: what was tried, and what the caller has seen."""

    def __init__(self, request: CompleteRequest, ranking: Ranking, clock: Callable[[], int]) -> None:
        self._request = request
        self._ranking = ranking
        self._clock = clock
        self._begun = clock()
        self._first_token = 0
        self._steps: list[RouteStep] = []
        self._failures: list[CandidateFailed] = []

    def delta(self, delta: Delta) -> CompleteResponse:
        self._mark_first_token()
        if isinstance(delta, Thought):
            return CompleteResponse(reasoning_delta=delta.text)
        return CompleteResponse(text_delta=delta)

    def failed(self, candidate: Candidate, failure: CandidateFailed) -> CompleteResponse | None:
        """Notes a failure; a Restart where the caller has seen text of it."""
        step = RouteStep(
            provider=candidate.provider,
            model=candidate.model,
            error_class=failure.error.code if failure.asked else "",
            reason=failure.reason,
        )
        self._steps.append(step)
        self._failures.append(failure)
        seen, self._first_token = self._first_token, 0
        reason = f"{candidate.provider} {candidate.model}: {failure.reason}"
        return CompleteResponse(restart=Restart(reason=reason)) if seen else None

    def completed(self, ranked: Ranked, reply: Reply) -> CompleteResponse:
        self._mark_first_token()
        candidate = ranked.candidate
        usage = reply.usage or estimated_usage(self._request, reply)
        charge = Charge(
            provider=candidate.provider,
            model=candidate.model,
            usage=usage,
            cost_nanos=cost_nanos(usage, candidate.prices),
            currency="USD",
        )
        completion = Completion(
            message=assistant_message(reply, self._request),
            finish_reason=reply.finish_reason,
            charge=charge,
            route=self._route(ranked),
            time_to_first_token_nano=self._first_token,
        )
        return CompleteResponse(completion=completion)

    def none_answered(self) -> Exception:
        """The error of a call that no candidate answered."""
        if self._failures:
            return none_answered(self._failures)
        told = "; ".join(f"{candidate.label}: {reason}" for candidate, reason in self._ranking.excluded)
        return InvalidInput(f"none of {len(self._ranking.excluded)} models can do this: {told}")

    def _route(self, chosen: Ranked) -> Route:
        candidate = chosen.candidate
        step = RouteStep(provider=candidate.provider, model=candidate.model, chosen=True, reason=chosen.reason)
        after = self._ranking.order[self._ranking.order.index(chosen) + 1 :]
        left = [(ranked.candidate, ranked.reason) for ranked in after]
        never = [
            RouteStep(provider=candidate.provider, model=candidate.model, reason=reason)
            for candidate, reason in (*left, *self._ranking.excluded)
        ]
        return Route(strategy=self._ranking.strategy, steps=[*self._steps, step, *never])

    def _mark_first_token(self) -> None:
        self._first_token = self._first_token or self._clock() - self._begun
