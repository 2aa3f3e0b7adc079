"""Who should own a partition."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.bus.rendezvous import assign

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
