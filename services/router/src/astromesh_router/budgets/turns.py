"""One turn of a replica at a budget's record: it reports what it spent, gives back what it does not need, and takes
what its calls wait for. Pure: reading and storing the record, and asking the log, are `accounts`'.

Every turn has a number, which is stored with the slice. So a replica that got no answer to its write sees at its next
turn whether it was stored, and reports nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from astromesh.v1.budget_pb2 import BudgetRecord
from astromesh_router.budgets.records import (
    LEASE_NANOS,
    MARGIN_NANOS,
    doubt,
    ended,
    find,
    free,
    grant,
    look_due,
    slice_of,
    sweep,
    take,
)
from astromesh_router.budgets.slices import Slice


@dataclass(frozen=True, slots=True)
class Wish:
    """What a turn is for: what waiting calls need, in their order and under which limit, or giving something back."""

    waiting: tuple[int, ...] = ()
    limit: int = 0
    giving: int = 0


@dataclass(frozen=True, slots=True)
class Logged:
    """What the log holds of an account, and what the replica had spent without a report when it was asked."""

    spent: int
    unreported: int


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A turn as it is about to be stored, and what it makes of the replica's slice."""

    number: int
    time: int
    record: BudgetRecord
    reported: int
    """Comes off what the slice has spent."""
    granted: int
    """What the slice holds afterwards."""
    worth_storing: bool
    refused: bool
    """There is not enough for the first call that waits."""


def needs_log(record: BudgetRecord | None, slice_: Slice, holder: str, now: int) -> Literal["no", "soon", "now"]:
    """Whether a turn needs to know what the log holds: surely where a record begins, or the own slice was taken back;
    and where there is a doubt, or one to come from a slice that has ended."""
    if record is None or is_lost(record, slice_, holder):
        return "now"
    return "soon" if look_due(record, now) or ended(record, holder, now) else "no"


def is_lost(record: BudgetRecord | None, slice_: Slice, holder: str) -> bool:
    """Whether the replica was taken for dead, and its slice given to others."""
    return bool(slice_.granted) and (record is None or slice_of(record, holder) is None)


def stored_of(record: BudgetRecord | None, holder: str, sent: Iterable[Turn]) -> Turn | None:
    """Which of the turns that got no answer was stored. One that gave everything back leaves no trace: it counts as
    stored where the slice is gone."""
    own = slice_of(record, holder) if record is not None else None
    if own is None:
        return next((turn for turn in sent if not turn.granted), None)
    return next((turn for turn in sent if turn.number == own.turn), None)


def settle(slice_: Slice, stored: Turn) -> None:
    """Brings the slice to where a stored turn leaves it."""
    slice_.spent -= stored.reported
    slice_.granted = stored.granted
    slice_.until = stored.time + LEASE_NANOS - MARGIN_NANOS


def turn_of(
    record: BudgetRecord | None, slice_: Slice, holder: str, number: int, wish: Wish, logged: Logged | None, now: int
) -> Turn:
    """What the replica writes now. `logged` is None where the log was not asked, or did not answer."""
    after = BudgetRecord()
    if record is not None:
        after.CopyFrom(record)
    lost = is_lost(record, slice_, holder)
    if lost or (record is None and logged is None):
        doubt(after, now)
    if logged is not None:
        # Not without the log: nobody else knows how much of it was spent.
        sweep(after, holder, now)
        find(after, holder, after.spent + logged.unreported, logged.spent, now)
    after.spent += slice_.spent
    kept = 0 if lost else max(0, slice_.granted - slice_.spent - slice_.withheld)
    take(after, holder, number, kept, now)
    first = slice_.in_flight + next(iter(wish.waiting), 0) - kept
    more = grant(free(after, wish.limit), first, slice_.in_flight + sum(wish.waiting) - kept) if first > 0 else 0
    take(after, holder, number, kept + more, now)
    return Turn(
        number=number,
        time=now,
        record=after,
        reported=slice_.spent,
        granted=kept + more,
        worth_storing=bool(slice_.spent) or _differs(record, after, holder, now),
        refused=bool(wish.waiting) and first > more,
    )


def _differs(record: BudgetRecord | None, after: BudgetRecord, holder: str, now: int) -> bool:
    before = record or BudgetRecord()
    looked = before.looked_unix_nano != after.looked_unix_nano
    if looked or before.doubted_unix_nano != after.doubted_unix_nano:
        return True
    old, new = slice_of(before, holder), slice_of(after, holder)
    if old is None or new is None:
        return old is not new
    return old.amount != new.amount or old.expires_unix_nano - now < LEASE_NANOS * 3 // 4
