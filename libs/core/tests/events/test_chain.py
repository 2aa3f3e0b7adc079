"""The chain: what is sealed verifies, and every change to it is found."""

from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import RunEvent, RunRequested
from astromesh_core.events.chain import GENESIS, build_commit, open_commit, seal, verify_chain


def sealed(count: int, aggregate: str = "run") -> list[bytes]:
    head, stored = GENESIS, list[bytes]()
    for number in range(count):
        event = RunEvent(requested=RunRequested(agent=f"agent {number}"))
        data, head = seal(Envelope(aggregate_id=aggregate, run=event), head)
        stored.append(data)
    return stored


@given(st.integers(1, 20))
def test_a_sealed_chain_verifies(count: int) -> None:
    verdict = verify_chain(sealed(count))
    assert verdict.ok
    assert verdict.events == count


@given(st.data())
def test_every_flipped_bit_is_found(data: st.DataObject) -> None:
    events = sealed(5)
    # The last event's hash is held by nobody yet; every earlier byte is covered.
    victim = data.draw(st.integers(0, 3))
    bit = data.draw(st.integers(0, len(events[victim]) * 8 - 1))
    changed = bytearray(events[victim])
    changed[bit // 8] ^= 1 << (bit % 8)
    verdict = verify_chain([*events[:victim], bytes(changed), *events[victim + 1 :]])
    assert not verdict.ok
    assert verdict.broken_at is not None
    assert verdict.broken_at <= victim + 1


def test_a_missing_a_swapped_and_a_foreign_event_are_found() -> None:
    events = sealed(4)
    assert verify_chain([events[0], *events[2:]]).broken_at == 1
    assert verify_chain([events[0], events[2], events[1], events[3]]).broken_at == 1
    assert verify_chain([*events[:3], *sealed(4, "other")[3:]]).broken_at == 3
    assert not verify_chain([]).ok


def test_a_commit_gives_back_the_bytes_that_were_sealed() -> None:
    events = sealed(3)
    assert [event.data for event in open_commit(build_commit(events))] == events
