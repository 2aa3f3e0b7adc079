"""Ranks an agent's candidates by its strategy, and learns from each call. The strategies themselves: `strategies`."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.capabilities import lack
from astromesh_router.figures import Seen
from astromesh_router.observations import Observations
from astromesh_router.ports import Needs, Ranking
from astromesh_router.strategies import LATENCY_OPTIMIZED, ROUND_ROBIN, rank


class LearningStrategist:
    """The Strategist of a router: what it sees of one call, the next one's ranking may go by."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, random: Random | None = None) -> None:
        """`clock` counts seconds; `random` draws who is explored."""
        self._seen = Observations(clock)
        self._random = random or Random()

    def rank(self, pool: Pool, needs: Needs) -> Ranking:
        """See Strategist.rank. Each call of it is a turn, and may be the first one of a candidate."""
        timed = pool.strategy == LATENCY_OPTIMIZED
        figures = self._seen.figures(pool, speeds=timed)
        seen = Seen(figures, self._turn(pool, needs), self._random.random())
        ranking = rank(pool.strategy, pool.candidates, seen, needs)
        if timed and ranking.order:
            self._seen.begun(ranking.order[0].candidate)
        return ranking

    def replied(
        self, pool: Pool, candidate: Candidate, first_token_seconds: float, seconds: float, usage: Usage
    ) -> None:
        """See Strategist.replied."""
        self._seen.replied(pool, candidate, first_token_seconds, seconds, usage)

    def failed(self, pool: Pool, candidate: Candidate, seconds: float) -> None:
        """See Strategist.failed. A candidate that fails does so in every pool."""
        del pool
        self._seen.failed(candidate, seconds)

    def _turn(self, pool: Pool, needs: Needs) -> int:
        if pool.strategy != ROUND_ROBIN:
            return 0
        return self._seen.turn(pool, [candidate for candidate in pool.candidates if not lack(candidate, needs)])
