"""Makes a circuit's changes visible to operators: metrics and log lines. Conditions are told by `provider_checks`."""

from __future__ import annotations

from urllib.parse import urlsplit

from astromesh_core.breaker import Circuit, State
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.metrics import Metrics
from astromesh_router.circuits import CircuitId, Clock, Endpoint

_log = logger(__name__)


class CircuitNotices:
    """Counts and logs changes of state."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def moved(self, identity: CircuitId, before: Circuit, circuit: Circuit) -> None:
        """A circuit has another state than before, by what happened here or by what another replica told."""
        endpoint = identity.endpoint
        labels = self._labels(endpoint)
        if before.state is not State.CLOSED:
            self._metrics.circuits.labels(*labels, before.state).dec()
        if circuit.state is not State.CLOSED:
            self._metrics.circuits.labels(*labels, circuit.state).inc()
        self._log_state(identity, circuit)

    def opened(self, endpoint: Endpoint) -> None:
        """Calls of this replica opened a circuit, or a probe of its did again."""
        self._metrics.circuit_openings.labels(*self._labels(endpoint)).inc()

    def paused(self, endpoint: Endpoint, until: float) -> None:
        """A vendor asked for a pause."""
        _log.info(
            "endpoint paused by its vendor",
            provider=endpoint.provider,
            endpoint=endpoint.address,
            until=self._clock.time_of_day(until),
        )

    def _labels(self, endpoint: Endpoint) -> tuple[str, str]:
        metrics = self._metrics
        return metrics.provider(endpoint.provider), metrics.endpoint(place(endpoint.address))

    def _log_state(self, identity: CircuitId, circuit: Circuit) -> None:
        fields: dict[str, str | int] = {"provider": identity.endpoint.provider, "endpoint": identity.endpoint.address}
        if circuit.state is not State.CLOSED:
            until = self._clock.time_of_day(circuit.until)
            fields |= {"failures": circuit.failures, "reason": circuit.reason, "until": until}
        _log.info("circuit", state=circuit.state, **fields)


def place(address: str) -> str:
    """An address without user, query and path; as it is where it has none of them."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else address
