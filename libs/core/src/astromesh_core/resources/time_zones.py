"""Time zones by the names of the IANA database (https://www.iana.org/time-zones)."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def zone_of(name: str) -> tzinfo:
    """The time zone of this name. Raises ValueError for a name of none."""
    if name == "UTC":
        # It is there too where the machine has no time zones installed.
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name[:80]!r} is no time zone of the IANA database") from error


def _check(text: str) -> str:
    try:
        zone_of(text)
    except ValueError as error:
        context = {"hint": "such as UTC or Europe/Zurich"}
        raise PydanticCustomError("timezone", "is no time zone of the IANA database", context) from error
    return text


TimeZone = Annotated[str, AfterValidator(_check)]
"""The name of a time zone."""
