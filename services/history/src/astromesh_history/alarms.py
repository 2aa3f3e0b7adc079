"""The alarms of this process: logged, counted, and shown in readiness. Nothing here stops the reading of the log."""

from __future__ import annotations

from astromesh_core.readiness import Health
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.metrics import Metrics
from astromesh_history.links import Fault

PROJECTION = "history"

_log = logger(__name__)


class Alarms:
    """Raises alarms. Readiness stays red from the first one on until the process restarts; the read model keeps all."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._first: Fault | None = None
        self._count = 0

    def sound(self, fault: Fault) -> None:
        """Raises the alarm."""
        self._first = self._first or fault
        self._count += 1
        self._metrics.log_alarms.labels(PROJECTION, fault.kind).inc()
        _log.error(
            "the log is not whole",
            kind=fault.kind,
            aggregate=fault.aggregate,
            namespace=fault.namespace,
            index=fault.index,
            reason=fault.reason,
        )

    async def health(self) -> Health:
        """Red once an alarm was raised, naming the first."""
        first = self._first
        if first is None:
            return Health(True)
        more = f" (and {self._count - 1} more)" if self._count > 1 else ""
        place = f"{first.aggregate}:{first.index}: " if first.aggregate else ""
        return Health(False, f"{first.kind}: {place}{first.reason}{more}; compare the log with its second copy")
