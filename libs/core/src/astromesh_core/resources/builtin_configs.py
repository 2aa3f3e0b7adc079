"""What `config` of each built-in tool may hold. Their arguments stand in `builtin_tools`."""

from __future__ import annotations

from astromesh_core.resources.spelling import Spec
from astromesh_core.resources.time_zones import TimeZone


class DatetimeNowConfig(Spec):
    """Of `datetime_now`."""

    timezone: TimeZone = "UTC"
    """Where a call names none."""


class CalculatorConfig(Spec):
    """Of `calculator`: nothing."""


class JsonQueryConfig(Spec):
    """Of `json_query`: nothing."""


BuiltinConfig = DatetimeNowConfig | CalculatorConfig | JsonQueryConfig
