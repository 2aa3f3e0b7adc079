"""Records of budgets in memory, whose store goes away, answers nothing and lets others write first, as it is told."""

from __future__ import annotations

from typing import Literal

from astromesh.v1.budget_pb2 import BudgetRecord
from astromesh_core.bus.budget_store import StoredBudget
from astromesh_core.errors import Conflict, TimedOut, Unavailable

Mood = Literal["well", "away", "mute", "deaf"]
"""mute: it stores and does not answer; deaf: it neither stores nor answers."""


class RememberedRecords:
    """Keeps what `core.bus.BudgetStore` keeps, and the same promises."""

    def __init__(self) -> None:
        self.mood: Mood = "well"
        self.writes = 0
        self._records: dict[str, tuple[bytes, int]] = {}
        self._revision = 0

    async def get(self, key: str) -> StoredBudget:
        """The record as it is now."""
        if self.mood == "away":
            raise Unavailable("the store is away")
        data, revision = self._records.get(key, (b"", 0))
        return StoredBudget(BudgetRecord.FromString(data) if revision else None, revision)

    async def put(self, key: str, record: BudgetRecord, *, expected: int, ttl: int) -> int:
        """Stores the record, for ever."""
        assert ttl > 0
        if self.mood == "away":
            raise Unavailable("the store is away")
        if self.mood == "deaf":
            raise TimedOut("no answer")
        if self._records.get(key, (b"", 0))[1] != expected:
            raise Conflict("another write came first")
        self._revision += 1
        self.writes += 1
        self._records[key] = (record.SerializeToString(), self._revision)
        if self.mood == "mute":
            raise TimedOut("no answer")
        return self._revision
