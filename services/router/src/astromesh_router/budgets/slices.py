"""A replica's own part of a budget: what it was granted, has set aside for calls under way, and has spent. Pure.

granted = spent + set aside + withheld + available       `available` below zero: calls cost more than was expected
"""

from __future__ import annotations

from dataclasses import dataclass, field

from astromesh_router.budgets.records import LEASE_NANOS, MARGIN_NANOS, SHARE

IDLE_NANOS = 10_000_000_000
"""A slice that no call used for so long is given back."""


@dataclass(slots=True)
class Slice:
    """Amounts in 1e-9 US dollars or in tokens; times in Unix nanoseconds."""

    granted: int = 0
    """Of all it was granted, what is not reported as spent."""
    spent: int = 0
    """Since the last report."""
    withheld: int = 0
    """About to be given back: no call gets it any more."""
    until: int = 0
    """No call gets anything from then on: somebody may take it back."""
    used: int = 0
    """When a call last used it."""
    in_flight: int = 0
    """What is set aside for calls under way."""
    _calls: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def available(self) -> int:
        """What further calls may take, while it lasts."""
        return self.granted - self.spent - self.withheld - self.in_flight

    @property
    def empty(self) -> bool:
        """Whether nothing of it is left to be told or kept."""
        return not (self.granted or self.spent or self._calls)

    def reserve(self, call: str, amount: int, now: int) -> bool:
        """Sets the amount aside for a call; False where there is not so much. A call reserves once."""
        if now >= self.until or amount > self.available:
            return False
        self._calls[call] = amount
        self.in_flight += amount
        self.used = now
        return True

    def settle(self, call: str, cost: int) -> None:
        """The call cost this; what was set aside for it is freed. A call that was settled or released is not known any
        more: settling twice changes nothing."""
        reserved = self._calls.pop(call, None)
        if reserved is not None:
            self.in_flight -= reserved
            self.spent += cost

    def release(self, call: str) -> None:
        """The call cost nothing. Idempotent."""
        self.settle(call, 0)

    def surplus(self, free: int, now: int) -> int:
        """What is to be given back, where so much is free beside it: all when it rests, and what goes far beyond its
        share, so that near the limit nothing lies idle here that others lack."""
        if not self._calls and now - self.used >= IDLE_NANOS:
            return max(0, self.available)
        share = max(0, free + self.available) // SHARE
        return self.available - share if self.available > 2 * share else 0

    def renewal_due(self, now: int) -> bool:
        """Whether it should be renewed by now: half of its time is over."""
        return bool(self.granted) and now >= self.until + MARGIN_NANOS - LEASE_NANOS // 2
