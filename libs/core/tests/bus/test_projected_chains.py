"""What a projection remembers of the chains it checks: no more than may go on."""

from __future__ import annotations

import pytest

from astromesh.v1.envelope_pb2 import AGGREGATE_TYPE_RUN, Envelope
from astromesh.v1.run_events_pb2 import RunCompleted, RunEvent, RunRequested
from astromesh_core.bus import projection
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import ProjectedCommit
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.events.chain import GENESIS, ChainHead, StoredEvent, seal

REQUESTED = RunEvent(requested=RunRequested())
COMPLETED = RunEvent(completed=RunCompleted())

chains_of = projection._Chains  # pyright: ignore[reportPrivateUsage]  # what it holds is the rule


def commit_of(number: int, *bodies: RunEvent, head: ChainHead = GENESIS) -> ProjectedCommit:
    aggregate = run_aggregate("default", f"07-{chr(ord('a') + number) * 26}")
    events = list[StoredEvent]()
    for body in bodies:
        envelope = Envelope(aggregate_type=AGGREGATE_TYPE_RUN, aggregate_id=aggregate.id, run=body)
        data, head = seal(envelope, head)
        events.append(StoredEvent(envelope, data))
    return ProjectedCommit(aggregate, events, Position(1))


def test_nothing_is_kept_of_runs_that_ended_and_nothing_may_come_after_them() -> None:
    chains = chains_of(whole=True)
    for number in range(8):
        assert chains.check(commit_of(number, REQUESTED, COMPLETED)) == ""
    assert len(chains) == 0
    after = commit_of(0, COMPLETED, head=commit_of(0, REQUESTED, COMPLETED).events[-1].head())
    assert "event 2 stands where 0 should" in chains.check(after)


def test_of_too_many_open_runs_the_oldest_head_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_HEADS_KEPT", 2)
    chains = chains_of(whole=True)
    opened = [commit_of(number, REQUESTED) for number in range(3)]
    assert [chains.check(commit) for commit in opened] == [""] * 3
    assert len(chains) == 2
    assert [chains.check(commit_of(n, COMPLETED, head=opened[n].events[-1].head())) for n in range(3)] == [""] * 3
