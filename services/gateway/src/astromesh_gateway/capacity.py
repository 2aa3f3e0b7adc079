"""Bounded admission: how many runs a namespace has open, by what workers tell and what was admitted since.

A full namespace is refused by itself, so one tenant cannot starve another.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile
from typing import Protocol

from astromesh_core.errors import RateLimited

TAKEN_IN_SECONDS = 0.05
"""After this long a worker counts a run that was admitted: what it tells from then on holds it, or it has ended."""

KEPT_SECONDS = 1.0
"""Workers tell their load four times a second: no admitted run is looked for longer than this."""

RETRY_AFTER_SECONDS = 1.0


class Loads(Protocol):
    """What workers tell of their load."""

    def open_runs(self, namespace: str) -> int:
        """How many runs of the namespace are open on all workers, a moment ago."""
        ...

    def heard_at(self) -> float:
        """When every worker had told at least once more, on the clock that `Capacity` is given."""
        ...


class Capacity:
    """Counts open runs by namespace."""

    def __init__(self, loads: Loads, limit_of: Callable[[str], int], now: Callable[[], float] = time.monotonic) -> None:
        self._loads = loads
        self._limit_of = limit_of
        self._now = now
        self._admitted: dict[str, OrderedDict[str, float]] = {}

    def take(self, namespace: str, run_id: str) -> None:
        """Counts a run that is about to be admitted. Raises RateLimited where the namespace is full."""
        recent = self._recent(namespace)
        limit = self._limit_of(namespace)
        told = self._loads.open_runs(namespace)
        # Counting takes time, and only a namespace that looks full needs it.
        if len(recent) + told >= limit and self._untold(recent) + told >= limit:
            raise RateLimited(
                f"namespace {namespace!r} has {limit} open runs, as many as spec.admission.max_open_runs allows",
                retry_after=RETRY_AFTER_SECONDS,
            )
        recent[run_id] = self._now()

    def give_back(self, namespace: str, run_id: str) -> None:
        """The run has ended, or was not admitted after all. Idempotent."""
        recent = self._admitted.get(namespace)
        if recent is not None:
            recent.pop(run_id, None)

    def _untold(self, recent: OrderedDict[str, float]) -> int:
        """How many no worker can have told of yet: who is told of is not counted a second time."""
        since = self._loads.heard_at() - TAKEN_IN_SECONDS
        return sum(1 for _ in takewhile(lambda admitted: admitted > since, reversed(recent.values())))

    def _recent(self, namespace: str) -> OrderedDict[str, float]:
        recent = self._admitted.setdefault(namespace, OrderedDict())
        oldest = self._now() - KEPT_SECONDS
        while recent and next(iter(recent.values())) < oldest:
            recent.popitem(last=False)
        return recent
