"""What a circuit is of, and how replicas write it to each other. Pure; its rules stand in `breaker`.

Who asks an endpoint with one key on the same terms (the breaker's and the patience) shares a circuit. One who is less
patient than others has a circuit alone, and opens none for them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from astromesh.v1 import endpoint_pb2 as pb
from astromesh_core.breaker import FORGET_SECONDS, Circuit, State, Terms
from astromesh_core.bus.lease import clock as steady_seconds
from astromesh_router.candidates import Candidate


class Endpoint(NamedTuple):
    """Where models are served, and the key that is shown there. `address` is the model where the router itself is."""

    provider: str
    address: str
    key_name: str


class CircuitId(NamedTuple):
    """What a circuit is of."""

    endpoint: Endpoint
    failure_threshold: int
    cooldown: float
    whole: float
    first_token: float
    between_tokens: float

    @property
    def terms(self) -> Terms:
        return Terms(self.failure_threshold, self.cooldown, self.whole)


def endpoint_of(candidate: Candidate) -> Endpoint:
    """Where a candidate is served."""
    return Endpoint(candidate.provider, candidate.endpoint or candidate.model, candidate.key_name)


def circuit_of(candidate: Candidate) -> CircuitId:
    """The circuit that a candidate's calls go through."""
    breaker, patience = candidate.breaker, candidate.patience
    return CircuitId(
        endpoint_of(candidate),
        breaker.failure_threshold,
        float(breaker.cooldown_seconds),
        float(patience.whole),
        float(patience.first_token),
        float(patience.between_tokens),
    )


@dataclass(frozen=True)
class Clock:
    """`seconds` never jumps, and only this process knows it; `unix` is everybody's, and may be set."""

    seconds: Callable[[], float] = steady_seconds
    unix: Callable[[], float] = time.time

    def nanos(self, moment: float) -> int:
        """A moment of our seconds, for others."""
        return round((self.unix() + moment - self.seconds()) * 1e9)

    def moment(self, unix_nano: int, at_most: float) -> float:
        """Somebody's moment in our seconds, at most so many from now: clocks differ, and some are wrong."""
        return self.seconds() + min(max(unix_nano / 1e9 - self.unix(), 0.0), at_most)

    def time_of_day(self, moment: float) -> str:
        """A moment of our seconds for a person."""
        return f"{datetime.fromtimestamp(self.nanos(moment) / 1e9, UTC):%H:%M:%S} UTC"


def in_words(circuit: Circuit, clock: Clock) -> str:
    """The state of a circuit that is not closed, for a person."""
    times = "1 failure" if circuit.failures == 1 else f"{circuit.failures} failures"
    after = f"after {times}: {circuit.reason}"
    if circuit.state is State.HALF_OPEN:
        return f"circuit half-open, one call is trying it, {after}"
    if clock.seconds() < circuit.until:
        return f"circuit open until {clock.time_of_day(circuit.until)}, {after}"
    return f"circuit half-open, the next call tries it, {after}"


_TO_RECORD = {
    State.CLOSED: pb.CIRCUIT_STATE_CLOSED,
    State.OPEN: pb.CIRCUIT_STATE_OPEN,
    State.HALF_OPEN: pb.CIRCUIT_STATE_HALF_OPEN,
}
_FROM_RECORD = {value: state for state, value in _TO_RECORD.items()}


def circuit_key(identity: CircuitId) -> str:
    """Where the circuit stands in KV."""
    return f"circuit.{_digest(tuple(identity))}"


def pause_key(endpoint: Endpoint) -> str:
    """Where a pause of the endpoint's key stands in KV."""
    return f"pause.{_digest(tuple(endpoint))}"


def circuit_record(identity: CircuitId, circuit: Circuit, router: str, clock: Clock) -> pb.EndpointRecord:
    """The circuit as `router` writes it."""
    terms = pb.CircuitTerms(
        failure_threshold=identity.failure_threshold,
        cooldown_seconds=identity.cooldown,
        whole_seconds=identity.whole,
        first_token_seconds=identity.first_token,
        between_tokens_seconds=identity.between_tokens,
    )
    record = pb.CircuitRecord(
        endpoint=_written(identity.endpoint),
        terms=terms,
        state=_TO_RECORD[circuit.state],
        until_unix_nano=clock.nanos(circuit.until),
        failures=circuit.failures,
        reason=circuit.reason,
        router=router,
    )
    return pb.EndpointRecord(circuit=record)


def lasting(identity: CircuitId, circuit: Circuit) -> float:
    """For how many seconds a record of the circuit is of use."""
    longest = {State.CLOSED: 0.0, State.OPEN: identity.cooldown, State.HALF_OPEN: identity.whole}
    return longest[circuit.state] + FORGET_SECONDS


def read_identity(record: pb.CircuitRecord) -> CircuitId:
    """What a record's circuit is of."""
    terms = record.terms
    return CircuitId(
        read_endpoint(record.endpoint),
        terms.failure_threshold,
        terms.cooldown_seconds,
        terms.whole_seconds,
        terms.first_token_seconds,
        terms.between_tokens_seconds,
    )


def read_circuit(record: pb.CircuitRecord, period: int, clock: Clock) -> Circuit:
    """A record's circuit, in a period of ours."""
    state = _FROM_RECORD.get(record.state, State.CLOSED)
    at_most = record.terms.whole_seconds if state is State.HALF_OPEN else record.terms.cooldown_seconds
    until = clock.moment(record.until_unix_nano, at_most)
    return Circuit(state, record.failures, record.reason, until, period)


def pause_record(endpoint: Endpoint, until: float, clock: Clock) -> pb.EndpointRecord:
    """A pause of the endpoint's key."""
    return pb.EndpointRecord(pause=pb.PauseRecord(endpoint=_written(endpoint), until_unix_nano=clock.nanos(until)))


def read_endpoint(endpoint: pb.Endpoint) -> Endpoint:
    """The endpoint of a record."""
    return Endpoint(endpoint.provider, endpoint.address, endpoint.key_name)


def _written(endpoint: Endpoint) -> pb.Endpoint:
    return pb.Endpoint(provider=endpoint.provider, address=endpoint.address, key_name=endpoint.key_name)


def _digest(identity: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
