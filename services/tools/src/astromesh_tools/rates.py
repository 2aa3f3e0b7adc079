"""How often something may begin. Pure: times are seconds of one clock and are passed in."""

from __future__ import annotations

from collections import deque


class Window:
    """Lets at most `most` calls begin within any window of so many seconds."""

    def __init__(self, most: int, seconds: float) -> None:
        self._seconds = seconds
        self._begun: deque[float] = deque(maxlen=most)

    def take(self, now: float) -> float:
        """Takes a place and returns 0; where none is free, the seconds until one is."""
        begun = self._begun
        if len(begun) == begun.maxlen and (wait := begun[0] + self._seconds - now) > 0:
            return wait
        begun.append(now)
        return 0.0
