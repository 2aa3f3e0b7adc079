"""`datetime_now`: the current date and time, in a time zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import available_timezones

from pydantic import JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.builtin_configs import DatetimeNowConfig
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.time_zones import zone_of
from astromesh_tools.tool import Clock

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DatetimeNow:
    """Reads the clock."""

    def __init__(self, config: DatetimeNowConfig, clock: Clock) -> None:
        self._timezone = config.timezone
        self._clock = clock

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """The time as ISO 8601 with its offset, to the second, and what models get wrong: the day of the week."""
        name = str(arguments.get("timezone") or self._timezone)
        try:
            zone = zone_of(name)
        except ValueError as error:
            raise InvalidInput(f"timezone: {error}; {_nearest(name)}") from error
        now = (_EPOCH + timedelta(microseconds=self._clock() // 1000)).astimezone(zone)
        return {
            "datetime": now.isoformat(timespec="seconds"),
            "timezone": name,
            "weekday": f"{now:%A}",
            "unix": self._clock() // 1_000_000_000,
        }


def _nearest(name: str) -> str:
    zones = _zones()
    # People know cities; the database says where they lie.
    cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(zones, reverse=True)}
    city = cities.get(name.rpartition("/")[2].strip().lower().replace(" ", "_"))
    return f"did you mean {city!r}?" if city else did_you_mean(name, zones) or "write one such as UTC or Europe/Zurich"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
