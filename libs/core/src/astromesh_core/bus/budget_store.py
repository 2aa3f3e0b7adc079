"""What budgets have left, in KV `budgets`: shared by the router's replicas, and changed by compare-and-set alone."""

from __future__ import annotations

from typing import NamedTuple

from astromesh.v1.budget_pb2 import BudgetRecord
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.streams import BUDGETS


class StoredBudget(NamedTuple):
    """A record, None where there is none; and the revision that the next write has to expect."""

    record: BudgetRecord | None
    revision: int


class BudgetStore:
    """Reads and writes the records of budgets, by key."""

    def __init__(self, nc: BusClient) -> None:
        self._bucket = Bucket(nc, BUDGETS)

    async def get(self, key: str) -> StoredBudget:
        """The record as it is now. Raises Unavailable, TimedOut."""
        entry = await self._bucket.newest(key)
        if entry is None:
            return StoredBudget(None, 0)
        return StoredBudget(BudgetRecord.FromString(entry.value) if entry.value else None, entry.revision)

    async def put(self, key: str, record: BudgetRecord, *, expected: int, ttl: int) -> int:
        """Stores the record for `ttl` seconds; its revision.

        Raises Conflict where another write came first; after Unavailable or TimedOut it may be stored or not.
        """
        return await self._bucket.put(key, record.SerializeToString(), expected=expected, ttl=ttl)
