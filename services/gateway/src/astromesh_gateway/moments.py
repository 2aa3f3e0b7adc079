"""Times as callers write them."""

from __future__ import annotations

from datetime import UTC, datetime


def unix_nano(moment: datetime | None) -> int:
    """A time in Unix nanoseconds, in UTC where it names no zone; 0 for none."""
    if moment is None:
        return 0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1_000_000) * 1_000
