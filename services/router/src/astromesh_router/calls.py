"""Drives a call: candidates are asked one after the other, until one gives a complete reply.

Who is asked next: `succession`; what the caller is told: `telling`; who ranks, admits and pays: `ports`; how a model is
talked to: `dialects`. The completion comes last and once. When none answered, the most hopeful error is raised.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.attempts import Governance
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.deadlines import in_time
from astromesh_router.dialects.port import Dialect, Reply
from astromesh_router.failures import CandidateFailed, failed
from astromesh_router.measuring import Meter
from astromesh_router.needs import needs_of
from astromesh_router.ports import Breakers, Purse, Strategist
from astromesh_router.succession import Succession
from astromesh_router.telling import Telling
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
        self._governance = Governance(strategist or InOrder(), breakers or AlwaysAdmitted(), purse or Unbounded())
        self._clock = clock
        self._meter = Meter(telemetry, clock)

    async def complete(self, pool: Pool, request: CompleteRequest) -> AsyncGenerator[CompleteResponse, None]:
        """Yields what the contract's Complete yields. Closing the generator stops the model. Raises AstromeshError."""
        if not pool.candidates:
            raise InvalidInput("the agent names no model")
        ranking = self._governance.strategist.rank(pool, needs_of(request))
        telling = Telling(request, self._clock)
        succession = Succession(pool, request, ranking, self._governance, telling, self._clock)
        while attempt := await succession.next():
            candidate = attempt.candidate
            try:
                with attempt, self._meter.attempt(candidate, request) as measured:
                    stream = self.dialect(candidate).stream(candidate, request, prefill=attempt.prefill)
                    async with aclosing(in_time(stream, candidate, succession.seconds_left)) as parts:
                        async for part in parts:
                            measured.note(part)
                            for response in succession.told(attempt, part):
                                yield response
                            if isinstance(part, Reply):
                                return
            except CandidateFailed as failure:
                for response in succession.failed(attempt, failure):
                    yield response
        yield CompleteResponse(failed_route=succession.route())
        raise succession.error()

    def dialect(self, candidate: Candidate) -> Dialect:
        """How a candidate is talked to. Raises CandidateFailed for a dialect that is not built."""
        dialect = self._dialects.get(candidate.dialect)
        if dialect is None:
            raise failed(candidate, NotSupported, f"the {candidate.dialect} dialect is not built here")
        return dialect
