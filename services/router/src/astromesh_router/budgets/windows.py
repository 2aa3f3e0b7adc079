"""Calendar days and months in UTC, as the windows of budgets. Pure: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

WindowKind = Literal["day", "month"]

NANOS = 1_000_000_000
DAY_NANOS = 86_400 * NANOS


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` until before `end`, in Unix nanoseconds. The name is 2026-03-01 for a day, 2026-03 for a month."""

    kind: WindowKind
    name: str
    start: int
    end: int

    @property
    def resets_at(self) -> str:
        """When it ends, as RFC 3339 has it."""
        return moment(self.end)


def window_of(kind: WindowKind, now: int) -> Window:
    """The window that `now` (Unix nanoseconds) lies in."""
    return _window(kind, now // DAY_NANOS)


@lru_cache(maxsize=8)
def _window(kind: WindowKind, days: int) -> Window:
    day = datetime.fromtimestamp(days * DAY_NANOS // NANOS, UTC)
    if kind == "day":
        return Window(kind, day.strftime("%Y-%m-%d"), _nanos(day), _nanos(day + timedelta(days=1)))
    first = day.replace(day=1)
    # Whatever the month's length, 31 days after its first day it is over, and the next one is not.
    following = (first + timedelta(days=31)).replace(day=1)
    return Window(kind, first.strftime("%Y-%m"), _nanos(first), _nanos(following))


def moment(nanos: int) -> str:
    """A time in whole seconds, as RFC 3339 has it."""
    return datetime.fromtimestamp(nanos // NANOS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _nanos(time: datetime) -> int:
    return int(time.timestamp()) * NANOS
