"""Whether an event continues its chain. Pure; what is done about one that does not is decided elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.chain import ChainHead, StoredEvent

FaultKind = Literal["gap", "broken-chain", "missing-object", "unreadable", "log-lost"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the log that cannot be: an incident, never a state to get used to."""

    kind: FaultKind
    aggregate: str
    namespace: str
    index: int
    reason: str


def fault_of(event: StoredEvent, head: ChainHead, aggregate: Aggregate) -> Fault | None:
    """What is wrong with this event as the next one of the aggregate, or None."""
    envelope = event.envelope
    index = envelope.index
    if index > head.next_index:
        reason = f"events {head.next_index} to {index - 1} are missing"
        return Fault("gap", aggregate.id, aggregate.namespace, index, reason)
    if index < head.next_index:
        reason = f"a second event claims index {index}"
    elif envelope.previous_sha256 != head.sha256:
        reason = "the hash of the previous event differs"
    elif envelope.aggregate_id != aggregate.id or envelope.namespace != aggregate.namespace:
        reason = f"it says that it belongs to {envelope.namespace}/{envelope.aggregate_id}"
    else:
        return None
    return Fault("broken-chain", aggregate.id, aggregate.namespace, index, reason)
