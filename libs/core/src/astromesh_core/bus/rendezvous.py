"""Which live worker should own which partition, and what a worker does about it: pure functions. No I/O, no leases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple


def assign(workers: Iterable[str], partitions: int) -> dict[int, str]:
    """The desired owner of every partition; empty without workers.

    Rendezvous hashing with quotas: shares differ by one at most, the order of the workers does not matter, and few
    partitions move when a worker comes or goes.
    """
    names = sorted(set(workers))
    if not names:
        return {}
    floor, larger_shares = divmod(partitions, len(names))
    shares = dict.fromkeys(names, 0)
    owners: dict[int, str] = {}
    for _, partition, worker in _ranked(names, partitions):
        if partition in owners or shares[worker] > floor:
            continue
        if shares[worker] == floor:
            if larger_shares == 0:
                continue
            larger_shares -= 1
        shares[worker] += 1
        owners[partition] = worker
    return owners


def _ranked(names: list[str], partitions: int) -> list[tuple[bytes, int, str]]:
    return sorted((_score(name, partition), partition, name) for name in names for partition in range(partitions))


def _score(worker: str, partition: int) -> bytes:
    return hashlib.blake2b(f"{partition}:{worker}".encode(), digest_size=8).digest()


class Owned(NamedTuple):
    """Who owns a partition, as recorded. No worker: free."""

    worker: str
    epoch: int
    revision: int


class Plan(NamedTuple):
    """What a worker should do about partitions: `lost` are another's by the record, `give` another should own."""

    take: frozenset[int]
    give: frozenset[int]
    lost: frozenset[int]


FREE = Owned("", 0, 0)


def plan(
    worker: str, held: Mapping[int, int], records: Mapping[int, Owned], live: AbstractSet[str], partitions: int
) -> Plan:
    """What `worker` does next. A dead worker's partitions are taken, a live one's awaited; `held` names epochs."""
    desired = assign(live, partitions)
    lost = {
        partition for partition, epoch in held.items() if not _recorded(worker, epoch, records.get(partition, FREE))
    }
    kept = held.keys() - lost
    take = {
        partition
        for partition, owner in desired.items()
        if owner == worker and partition not in kept and _takable(worker, records.get(partition, FREE), live)
    }
    give = {partition for partition in kept if desired.get(partition, worker) != worker}
    return Plan(frozenset(take), frozenset(give), frozenset(lost))


def _recorded(worker: str, epoch: int, record: Owned) -> bool:
    return record.worker == worker and record.epoch == epoch


def _takable(worker: str, record: Owned, live: AbstractSet[str]) -> bool:
    # A record in the own name that is not held is left from an earlier life, or from a write that timed out.
    return record.worker in ("", worker) or record.worker not in live
