"""The chain: what is sealed verifies, and every change to it is found."""

import random

from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import RunEvent, RunRequested
from astromesh_core.events.chain import GENESIS, build_commit, open_commit, seal, verify_chain
from astromesh_testing.commits import begun, commit_of, completed, new_run, requested


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


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


FLIPS = 10_000


def test_of_ten_thousand_flipped_bits_each_is_found_and_its_event_named() -> None:
    rng = random.Random("flips")
    run = new_run()
    bodies = [requested("x" * 300), begun(), *(requested(f"event {number}") for number in range(6)), completed()]
    events = [event.data for event in open_commit(commit_of(run, bodies)[0])]
    # The last event's hash is held by nobody yet: who has only the chain cannot know of it, nor whom it denies.
    for _ in range(FLIPS):
        victim = rng.randrange(len(events) - 2)
        bit = rng.randrange(len(events[victim]) * 8)
        verdict = verify_chain([*events[:victim], flipped(events[victim], bit), *events[victim + 1 :]])
        assert (verdict.ok, verdict.broken_at, verdict.events) == (False, victim, victim), (victim, bit, verdict)
        assert verdict.reason


def test_before_the_last_event_every_flipped_bit_is_found_at_the_last_at_the_latest() -> None:
    events = sealed(3)
    for bit in range(len(events[1]) * 8):
        assert verify_chain([events[0], flipped(events[1], bit), events[2]]).broken_at in (1, 2)


def test_a_missing_a_swapped_and_a_foreign_event_are_found() -> None:
    events = sealed(4)
    assert verify_chain([events[0], *events[2:]]).broken_at == 1
    assert verify_chain([events[0], events[2], events[1], events[3]]).broken_at == 1
    assert verify_chain([*events[:3], *sealed(4, "other")[3:]]).broken_at == 3
    assert not verify_chain([]).ok


def test_a_commit_gives_back_the_bytes_that_were_sealed() -> None:
    events = sealed(3)
    assert [event.data for event in open_commit(build_commit(events))] == events
