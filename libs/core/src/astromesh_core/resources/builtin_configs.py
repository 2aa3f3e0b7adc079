"""What `config` of each built-in tool may hold. Their arguments stand in `builtin_tools`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from astromesh_core.resources.spelling import Items, Spec, shaped, spelled
from astromesh_core.resources.time_zones import TimeZone

HostPattern = Annotated[
    str, shaped(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", "a host in lower case", "example.com or *.example.com")
]


class DatetimeNowConfig(Spec):
    """Of `datetime_now`."""

    timezone: TimeZone = "UTC"
    """Where a call names none."""


class CalculatorConfig(Spec):
    """Of `calculator`: nothing."""


class JsonQueryConfig(Spec):
    """Of `json_query`: nothing."""


class WebScrapeConfig(Spec):
    """Of `web_scrape`."""

    allowed_hosts: Items[HostPattern] = ()
    """`example.com`, or `*.example.com` for all below it. None: every host."""
    allow_private: bool = False
    """Whether pages may lie inside the network: on this machine, in a private range, at a cloud's metadata."""


class ReadFileConfig(Spec):
    """Of `read_file`."""

    roots: Items[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, validation_alias=spelled("roots", "allowed_paths")
    )
    """Folders that may be read, with all below them; a relative one starts at the config folder."""


BuiltinConfig = DatetimeNowConfig | CalculatorConfig | JsonQueryConfig | WebScrapeConfig | ReadFileConfig
