"""When a pipeline's schedule is due, by its cron fields and time zone. Pure: the time is given, and nobody is woken."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim

from astromesh_core.resources.rag_pipeline import Ingestion
from astromesh_core.resources.time_zones import zone_of


def name_of(ingestion: Ingestion) -> str:
    """Stands for the schedule: another one begins anew."""
    return f"{ingestion.schedule} {ingestion.timezone}"


def next_due(ingestion: Ingestion, after: float) -> float | None:
    """The first time that the schedule is due after a time, both in Unix seconds; None without a schedule."""
    return _nearest(ingestion, after, back=False)


def newest_due(ingestion: Ingestion, dealt_with: float, now: float) -> float | None:
    """The last time that it was due until now and after `dealt_with`; None where there is none.

    Of all those that were missed, one is made up for.
    """
    last = _nearest(ingestion, now + 1, back=True)
    return last if last is not None and last > dealt_with else None


def _nearest(ingestion: Ingestion, seconds: float, *, back: bool) -> float | None:
    if ingestion.schedule is None:
        return None
    # Whole seconds: cron knows no smaller ones, and looking back from a fraction would find the second itself.
    start = datetime.fromtimestamp(int(seconds), UTC).astimezone(zone_of(ingestion.timezone))
    found = next(CronSim(ingestion.schedule, start, reverse=back), None)
    return found.timestamp() if found is not None else None
