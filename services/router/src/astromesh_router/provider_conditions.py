"""What is observed of a Provider, as conditions: from its last health check and the circuits at its endpoint. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from astromesh.v1.control_pb2 import (
    CONDITION_STATUS_FALSE,
    CONDITION_STATUS_TRUE,
    CONDITION_STATUS_UNKNOWN,
    Condition,
    ConditionStatus,
)
from astromesh.v1.endpoint_pb2 import CheckRecord
from astromesh_core.breaker import FORGET_SECONDS, Circuit, State
from astromesh_router.candidates import Candidate
from astromesh_router.circuits import Clock, in_words

REACHABLE = "EndpointReachable"
AVAILABLE = "ModelsAvailable"
CLOSED = "CircuitClosed"

_WORST_FIRST = (State.OPEN, State.HALF_OPEN, State.CLOSED)


def conditions_of(
    candidate: Candidate, check: CheckRecord, circuits: Sequence[Circuit], clock: Clock
) -> list[Condition]:
    """Every condition of a Provider, of which a check has ended."""
    return [_reachable(check), _available(candidate, check), _closed(circuits, clock)]


def next_change(circuits: Iterable[Circuit], now: float) -> float | None:
    """When time alone changes what is told of the circuits; None: never."""
    ends = (end for circuit in circuits if circuit.state is not State.CLOSED for end in _ends(circuit))
    return min((end for end in ends if end > now), default=None)


def not_offered(candidate: Candidate, models: Sequence[str]) -> str:
    """Says which models are missing, and what to do."""
    names = f"the model {models[0]} is" if len(models) == 1 else f"the models {', '.join(models)} are"
    hint = f"; run `ollama pull {models[0]}`" if candidate.provider == "ollama" else ""
    return f"{names} not offered{hint}"


def _reachable(check: CheckRecord) -> Condition:
    if check.reachable:
        return _condition(REACHABLE, CONDITION_STATUS_TRUE, "Answers")
    return _condition(REACHABLE, CONDITION_STATUS_FALSE, "Unreachable", check.reason)


def _available(candidate: Candidate, check: CheckRecord) -> Condition:
    if not check.reachable:
        return _condition(AVAILABLE, CONDITION_STATUS_UNKNOWN, "Unreachable", "the endpoint does not answer")
    if check.missing:
        told = not_offered(candidate, check.missing)
        if check.offered:
            return _condition(AVAILABLE, CONDITION_STATUS_TRUE, "SomeOffered", told)
        return _condition(AVAILABLE, CONDITION_STATUS_FALSE, "ModelMissing", told)
    if check.offered:
        return _condition(AVAILABLE, CONDITION_STATUS_TRUE, "Offered")
    return _condition(AVAILABLE, CONDITION_STATUS_TRUE, "NotListed", "what was asked lists no models")


def _closed(circuits: Sequence[Circuit], clock: Clock) -> Condition:
    worst = min(circuits, key=lambda circuit: _WORST_FIRST.index(circuit.state), default=Circuit())
    if worst.state is State.CLOSED:
        last = next((circuit.reason for circuit in circuits if circuit.reason and circuit.period), "")
        return _condition(CLOSED, CONDITION_STATUS_TRUE, "Closed", f"it was open, after: {last}" if last else "")
    refuses = worst.state is State.OPEN and clock.seconds() < worst.until
    return _condition(CLOSED, CONDITION_STATUS_FALSE, "Open" if refuses else "HalfOpen", in_words(worst, clock))


def _ends(circuit: Circuit) -> tuple[float, float]:
    return circuit.until, circuit.until + FORGET_SECONDS


def _condition(kind: str, status: ConditionStatus.ValueType, reason: str, message: str = "") -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)
