"""Schedules by five cron fields in a time zone: what they may be, and when they are due. Pure: the time is given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.spelling import shaped
from astromesh_core.resources.time_zones import zone_of


def _check(text: str) -> str:
    try:
        CronSim(text, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        context = {"reason": str(error).lower(), "hint": "such as 0 2 * * *"}
        raise PydanticCustomError("schedule", "is no schedule: {reason}", context) from error
    return text


CronFields = Annotated[
    str, shaped(r"\S+( \S+){4}", "a schedule of five cron fields", "0 2 * * *"), AfterValidator(_check)
]
"""Minute, hour, day of month, month, day of week."""


def next_due(fields: str, timezone: str, after: float) -> float | None:
    """The first time that a schedule is due after a time, both in Unix seconds; None where it never is again."""
    return _nearest(fields, timezone, after, back=False)


def newest_due(fields: str, timezone: str, dealt_with: float, now: float) -> float | None:
    """The last time that it was due until now and after `dealt_with`; None where there is none.

    Of all those that were missed, one is made up for.
    """
    last = _nearest(fields, timezone, now + 1, back=True)
    return last if last is not None and last > dealt_with else None


def _nearest(fields: str, timezone: str, seconds: float, *, back: bool) -> float | None:
    # Whole seconds: cron knows no smaller ones, and looking back from a fraction would find the second itself.
    start = datetime.fromtimestamp(int(seconds), UTC).astimezone(zone_of(timezone))
    found = next(CronSim(fields, start, reverse=back), None)
    return found.timestamp() if found is not None else None
