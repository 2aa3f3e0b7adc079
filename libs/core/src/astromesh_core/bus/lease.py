"""How long a worker may believe that it is alive in the eyes of others. Pure but for the clock that it is given.

A heartbeat is a key with a TTL. Others take a worker's partitions only when the server says that its key is gone, which
is TTL after the server stored it; so a worker may act until TTL after it *sent* it, less a margin for timers' haste.
"""

from __future__ import annotations

import time

MARGIN_SECONDS = 0.5


class Lease:
    """Valid from an acknowledged heartbeat until a while after it was sent. Times are seconds of one clock."""

    def __init__(self, ttl: float) -> None:
        self._lasts = ttl - MARGIN_SECONDS
        self._until = float("-inf")

    def valid(self, now: float) -> bool:
        """True as long as nobody can have seen the key gone."""
        return now < self._until

    def unbroken(self, acknowledged: float) -> bool:
        """True where a heartbeat acknowledged at this time found the key of the one before still standing."""
        return acknowledged < self._until

    def renew(self, sent: float) -> None:
        """Counts on from the time when a heartbeat was sent that is stored by now."""
        self._until = max(self._until, sent + self._lasts)

    def end(self) -> None:
        """Not valid any more, until it is renewed."""
        self._until = float("-inf")


def clock() -> float:
    """Seconds of a clock that nobody sets and that runs on while the machine sleeps."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)
