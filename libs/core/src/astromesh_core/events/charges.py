"""What model calls have cost, charge by charge, as the events of runs tell it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import Charge
from astromesh_core.events.runs import TERMINAL_EVENTS

BILLING_EVENTS = frozenset({"model_call_begun", "model_replied"}) | TERMINAL_EVENTS


class Billed(NamedTuple):
    """One charge: of a reply, of a candidate that broke off, or of calls that were lost, which names no model.

    `path` is empty where the run's end bills calls that were under way. The time is when the call began, in Unix
    nanoseconds, as far as the event tells it.
    """

    path: str
    charge: Charge
    time_unix_nano: int


def charges_of(envelope: Envelope) -> Iterator[Billed]:
    """The charges that an event bills, in an order that never changes. All events of a run together bill each once."""
    kind = envelope.run.WhichOneof("event") or ""
    if kind not in BILLING_EVENTS:
        return
    event: Any = getattr(envelope.run, kind)
    path = "" if kind in TERMINAL_EVENTS else event.path
    time = envelope.time_unix_nano
    if kind == "model_replied":
        time = event.timing.start_unix_nano or time
        if event.HasField("charge"):
            yield Billed(path, event.charge, time)
    for charge in event.partial_charges:
        yield Billed(path, charge, time)
    if event.HasField("lost_usage") and (event.lost_usage.input_tokens or event.lost_usage.output_tokens):
        yield Billed(path, Charge(usage=event.lost_usage), time)
