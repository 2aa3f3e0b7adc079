"""Who should own a partition."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.bus.rendezvous import Owned, assign, plan

NAMES = st.sets(st.text("abcdef0123456789-", min_size=1, max_size=12), min_size=1, max_size=12)


@given(workers=NAMES)
def test_every_partition_has_one_owner_and_shares_differ_by_one_at_most(workers: set[str]) -> None:
    owners = assign(workers, 64)
    assert sorted(owners) == list(range(64))
    shares = Counter(owners.values())
    assert set(shares) == workers
    assert max(shares.values()) - min(shares.values()) <= 1


@given(workers=NAMES)
def test_the_order_in_which_workers_are_seen_does_not_matter(workers: set[str]) -> None:
    assert assign(sorted(workers), 64) == assign(sorted(workers, reverse=True), 64)


def test_without_workers_nobody_owns_anything() -> None:
    assert assign([], 64) == {}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_few_partitions_move_when_a_worker_joins(size: int) -> None:
    moves: list[int] = []
    for seed in range(20):
        workers = [f"runtime-{seed}-{number}" for number in range(size)]
        before, after = assign(workers, 64), assign([*workers, f"runtime-{seed}-new"], 64)
        moves.append(sum(before[partition] != after[partition] for partition in range(64)))
    fair = 64 / (size + 1)
    assert sum(moves) / len(moves) <= 2 * fair


LIVE = frozenset({"a", "b"})


def owned(worker: str, epoch: int = 1) -> Owned:
    return Owned(worker, epoch, 7)


def desired_of(worker: str) -> set[int]:
    return {partition for partition, owner in assign(LIVE, 64).items() if owner == worker}


def test_free_and_dead_workers_partitions_are_taken_and_live_ones_awaited() -> None:
    records = {partition: owned("b" if partition % 2 else "dead") for partition in range(64)}
    steps = plan("a", {}, records, LIVE, 64)
    assert steps.take == {partition for partition in desired_of("a") if partition % 2 == 0}
    assert plan("a", {}, {}, LIVE, 64).take == desired_of("a")


def test_what_another_should_own_is_given_and_what_a_record_denies_is_lost() -> None:
    records = {partition: owned("a") for partition in range(64)} | {3: owned("b", 2), 4: owned("a", 2)}
    steps = plan("a", dict.fromkeys(range(64), 1), records, LIVE, 64)
    assert steps.lost == {3, 4}
    assert steps.give == desired_of("b") - {3, 4}
    assert steps.take == desired_of("a") & {4}


def test_nobody_gives_anything_to_nobody() -> None:
    held = dict.fromkeys(range(64), 1)
    records = {partition: owned("a") for partition in range(64)}
    assert plan("a", held, records, frozenset(), 64) == (frozenset(), frozenset(), frozenset())
