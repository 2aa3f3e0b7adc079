"""When an agent is asked by nobody: the times, and the question."""

from __future__ import annotations

from pydantic import Field, JsonValue

from astromesh_core.resources.cron import CronFields
from astromesh_core.resources.references import Name
from astromesh_core.resources.spelling import Spec
from astromesh_core.resources.time_zones import TimeZone


class AgentSchedule(Spec):
    """A question that is asked again and again, each time once in the whole mesh."""

    name: Name
    schedule: CronFields
    timezone: TimeZone = "UTC"
    query: str = Field(min_length=1)
    session: str = Field(default="", max_length=512)
    """In which the runs remember each other. Empty: each run has one of its own."""
    context: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Variables for the prompt. `scheduled_at` is there by itself."""
    catch_up_seconds: int = Field(default=3600, ge=0, le=604_800)
    """How late it may be asked, where the mesh was away or the agent was not ready."""
