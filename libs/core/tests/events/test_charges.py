"""Charges are the bill, piece by piece."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import Charge, Timing, Usage
from astromesh_core.events.charges import charges_of
from astromesh_core.events.runs import add_usage, fold

USAGES = st.builds(
    Usage, input_tokens=st.integers(1, 9), output_tokens=st.integers(0, 9), cached_input_tokens=st.integers(0, 9)
)
CHARGES = st.builds(Charge, model=st.sampled_from("ab"), usage=USAGES, cost_nanos=st.integers(0, 99))
LOST = {"lost_usage": st.none() | USAGES, "partial_charges": st.lists(CHARGES, max_size=2)}
PATHS = st.sampled_from(["1", "2"])
EVENTS = st.one_of(
    st.builds(ev.ModelCallBegun, path=PATHS, **LOST).map(lambda event: ev.RunEvent(model_call_begun=event)),
    st.builds(ev.ModelReplied, path=PATHS, charge=st.none() | CHARGES, **LOST).map(
        lambda event: ev.RunEvent(model_replied=event)
    ),
)
ENDS = st.one_of(
    st.builds(ev.RunCompleted, usage=USAGES, **LOST).map(lambda event: ev.RunEvent(completed=event)),
    st.builds(ev.RunFailed, usage=USAGES, **LOST).map(lambda event: ev.RunEvent(failed=event)),
    st.builds(ev.RunCancelled, usage=USAGES, **LOST).map(lambda event: ev.RunEvent(cancelled=event)),
)


def stored(index: int, event: ev.RunEvent) -> Envelope:
    return Envelope(aggregate_id="00-x", namespace="ns", index=index, time_unix_nano=100 + index, run=event)


@given(st.lists(EVENTS, max_size=6), ENDS)
def test_all_charges_of_a_run_come_to_what_it_cost(events: list[ev.RunEvent], end: ev.RunEvent) -> None:
    envelopes = [stored(index, event) for index, event in enumerate([*events, end])]
    total, cost = Usage(), 0
    for billed in (billed for envelope in envelopes for billed in charges_of(envelope)):
        add_usage(total, billed.charge.usage)
        cost += billed.charge.cost_nanos
    run = fold(envelopes)
    assert (total, cost) == (run.usage, run.cost_nanos)


def test_a_charge_is_of_the_time_when_its_call_began() -> None:
    replied = ev.ModelReplied(path="1", charge=Charge(cost_nanos=3), timing=Timing(start_unix_nano=42))
    [billed] = charges_of(stored(7, ev.RunEvent(model_replied=replied)))
    assert billed == ("1", Charge(cost_nanos=3), 42)


def test_calls_that_were_lost_are_charges_without_a_model() -> None:
    cancelled = ev.RunCancelled(lost_usage=Usage(input_tokens=5, estimated=True))
    [billed] = charges_of(stored(7, ev.RunEvent(cancelled=cancelled)))
    assert billed == ("", Charge(usage=Usage(input_tokens=5, estimated=True)), 107)
