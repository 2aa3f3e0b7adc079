"""When a pipeline's schedule is due, by its cron fields and time zone. Pure: the time is given, and nobody is woken."""

from __future__ import annotations

from astromesh_core.resources import cron
from astromesh_core.resources.rag_pipeline import Ingestion


def name_of(ingestion: Ingestion) -> str:
    """Stands for the schedule: another one begins anew."""
    return f"{ingestion.schedule} {ingestion.timezone}"


def next_due(ingestion: Ingestion, after: float) -> float | None:
    """The first time that the schedule is due after a time, both in Unix seconds; None without a schedule."""
    return cron.next_due(ingestion.schedule, ingestion.timezone, after) if ingestion.schedule is not None else None


def newest_due(ingestion: Ingestion, dealt_with: float, now: float) -> float | None:
    """The last time that it was due until now and after `dealt_with`; None where there is none."""
    if ingestion.schedule is None:
        return None
    return cron.newest_due(ingestion.schedule, ingestion.timezone, dealt_with, now)
