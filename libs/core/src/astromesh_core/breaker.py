"""When something that fails is left alone: the circuit breaker as a pure state machine. Of providers and of tools.

1. Only failures count that the endpoint is to blame for: so many in a row open the circuit, for so many seconds.
2. Then the next call is the probe; until it ends nobody else is let through. Its success closes the circuit, its
   failure opens it again.
3. A probe that is abandoned, or not heard of for as long as a call may take, says nothing: the next call is the probe.
4. A call that was let through before the state last changed reports in vain.
5. An open circuit that nobody tries for ten minutes after its time closes: nothing is known of the endpoint any more.

TRANSITIONS says the same, and docs/circuit-breaker.md shows it drawn. Times are seconds of one clock and are passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

FORGET_SECONDS: Final = 600.0


class State(StrEnum):
    """Of a circuit."""

    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """Calls are refused until a time; after it the next one is the probe."""
    HALF_OPEN = "half_open"
    """The probe is under way, other calls are refused."""


class Event(StrEnum):
    """What happens to a circuit, in words for the diagram: Mermaid takes no colon there."""

    SUCCEEDED = "a call succeeds, failures are forgotten"
    FAILED = "a call fails and is counted"
    FAILED_AGAIN = "a call fails, the last of failureThreshold in a row"
    PROBED = "a call comes after cooldownSeconds, the probe"
    FORGOTTEN = "nobody calls for ten minutes more"
    PROBE_SUCCEEDED = "the probe succeeds"
    PROBE_FAILED = "the probe fails, cooldownSeconds begin anew"
    PROBE_ABANDONED = "the probe is abandoned, the next call probes"
    PROBE_LOST = "the probe is not heard of again, the next call probes"


class Outcome(StrEnum):
    """How a call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """And the endpoint is to blame."""
    ABANDONED = "abandoned"
    """It says nothing about the endpoint: its caller left, or was to blame."""


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.CLOSED, Event.SUCCEEDED): State.CLOSED,
    (State.CLOSED, Event.FAILED): State.CLOSED,
    (State.CLOSED, Event.FAILED_AGAIN): State.OPEN,
    (State.OPEN, Event.PROBED): State.HALF_OPEN,
    (State.OPEN, Event.FORGOTTEN): State.CLOSED,
    (State.HALF_OPEN, Event.PROBE_SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Event.PROBE_FAILED): State.OPEN,
    (State.HALF_OPEN, Event.PROBE_ABANDONED): State.OPEN,
    (State.HALF_OPEN, Event.PROBE_LOST): State.OPEN,
}
"""Where each event leads. Any other pair cannot be."""

_ENDS_OF_PROBE: Final = {
    Outcome.SUCCEEDED: Event.PROBE_SUCCEEDED,
    Outcome.FAILED: Event.PROBE_FAILED,
    Outcome.ABANDONED: Event.PROBE_ABANDONED,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a circuit goes by. Seconds."""

    failure_threshold: int
    cooldown: float
    longest_call: float


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of an endpoint."""

    state: State = State.CLOSED
    failures: int = 0
    """In a row."""
    reason: str = ""
    """Of the last failure."""
    until: float = 0.0
    """Open: no call passes before. Half-open: the probe is given up then."""
    period: int = 0
    """Counts the changes of state."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Lets one call through. Report its end with it."""

    period: int
    probe: bool = False


def as_of(circuit: Circuit, now: float) -> Circuit:
    """The circuit after what time alone did to it."""
    if circuit.state is State.HALF_OPEN and now >= circuit.until:
        circuit = _after(circuit, Event.PROBE_LOST)
    if circuit.state is State.OPEN and now >= circuit.until + FORGET_SECONDS:
        circuit = replace(_after(circuit, Event.FORGOTTEN), failures=0)
    return circuit


def knock(circuit: Circuit, now: float, terms: Terms) -> tuple[Circuit, Leave | None]:
    """A call wants through: the circuit after that, and its leave; None where it is refused."""
    circuit = as_of(circuit, now)
    if circuit.state is State.CLOSED:
        return circuit, Leave(circuit.period)
    if circuit.state is State.OPEN and now >= circuit.until:
        probing = replace(_after(circuit, Event.PROBED), until=now + terms.longest_call)
        return probing, Leave(probing.period, probe=True)
    return circuit, None


def report(circuit: Circuit, leave: Leave, outcome: Outcome, now: float, terms: Terms, reason: str = "") -> Circuit:
    """The circuit after a call that it let through has ended. `reason` says why it failed."""
    if leave.period != circuit.period:
        return circuit
    if outcome is Outcome.FAILED:
        circuit = replace(circuit, failures=circuit.failures + 1, reason=reason)
    event = _ENDS_OF_PROBE[outcome] if leave.probe else _end_of_call(circuit, outcome, terms)
    if event is None:
        return circuit
    circuit = _after(circuit, event)
    match event:
        case Event.SUCCEEDED | Event.PROBE_SUCCEEDED:
            return replace(circuit, failures=0)
        case Event.FAILED_AGAIN | Event.PROBE_FAILED:
            return replace(circuit, until=now + terms.cooldown)
        case Event.PROBE_ABANDONED:
            return replace(circuit, until=now)
        case _:
            return circuit


def _end_of_call(circuit: Circuit, outcome: Outcome, terms: Terms) -> Event | None:
    match outcome:
        case Outcome.SUCCEEDED:
            return Event.SUCCEEDED
        case Outcome.FAILED:
            return Event.FAILED_AGAIN if circuit.failures >= terms.failure_threshold else Event.FAILED
        case Outcome.ABANDONED:
            return None


def _after(circuit: Circuit, event: Event) -> Circuit:
    state = TRANSITIONS[circuit.state, event]
    return replace(circuit, state=state, period=circuit.period + (state is not circuit.state))


def diagram() -> str:
    """TRANSITIONS as a Mermaid state diagram."""
    arrows = (f"    {source} --> {target}: {event}" for (source, event), target in TRANSITIONS.items())
    return "\n".join(("stateDiagram-v2", f"    [*] --> {Circuit().state}", *arrows))
