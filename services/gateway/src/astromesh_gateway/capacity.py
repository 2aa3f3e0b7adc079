"""Bounded admission: how many runs a namespace has open, by what workers tell and what was admitted since.

A full namespace is refused by itself, so one tenant cannot starve another.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from astromesh_core.errors import RateLimited

REPORTED_AFTER_SECONDS = 1.0
"""Workers tell their load four times a second: after this long a run that is still open is in what they tell."""

RETRY_AFTER_SECONDS = 1.0


class Loads(Protocol):
    """What workers tell of their load."""

    def open_runs(self, namespace: str) -> int:
        """How many runs of the namespace are open on all workers, a moment ago."""
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
        if len(recent) + self._loads.open_runs(namespace) >= limit:
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

    def _recent(self, namespace: str) -> OrderedDict[str, float]:
        recent = self._admitted.setdefault(namespace, OrderedDict())
        oldest = self._now() - REPORTED_AFTER_SECONDS
        while recent and next(iter(recent.values())) < oldest:
            recent.popitem(last=False)
        return recent
