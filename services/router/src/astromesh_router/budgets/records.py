"""What replicas share of a budget, and how a replica changes its part of it. Pure; storing it by compare-and-set is
the store's.

spent + found + slices ≤ limit: a slice is granted only from what is free, so whoever holds one spends it without
asking. A slice that is not renewed ends, and its holder is taken for dead: what it spent without a report is found in
the log.
"""

from __future__ import annotations

from astromesh.v1.budget_pb2 import BudgetRecord, BudgetSlice

SHARE = 16
"""A slice is this part of what is free, or what the calls that wait for it need: near the limit slices shrink to the
single call, and far from it a replica asks seldom."""

LEASE_NANOS = 20_000_000_000
"""How long a slice lasts unless it is renewed."""

MARGIN_NANOS = 5_000_000_000
"""By so much a holder stops before a slice ends: the clocks of two machines may differ by less."""

DOUBT_NANOS = 60_000_000_000
"""For so long the log may take to tell of a call that was paid for."""

LOOK_NANOS = 10_000_000_000
"""Between two looks into the log for one record, at least."""


def slice_of(record: BudgetRecord, holder: str) -> BudgetSlice | None:
    """The holder's slice."""
    return next((each for each in record.slices if each.holder == holder), None)


def set_aside(record: BudgetRecord, but: str = "") -> int:
    """The amount of all slices, or of all but one holder's."""
    return sum(each.amount for each in record.slices if each.holder != but)


def spent_of(record: BudgetRecord) -> int:
    """All that is known to be spent."""
    return record.spent + record.found


def free(record: BudgetRecord, limit: int) -> int:
    """What may still be granted."""
    return limit - spent_of(record) - set_aside(record)


def ended(record: BudgetRecord, but: str, now: int) -> list[BudgetSlice]:
    """The slices that were not renewed, but not that of the holder which asks: it lives."""
    return [each for each in record.slices if each.expires_unix_nano <= now and each.holder != but]


def sweep(record: BudgetRecord, but: str, now: int) -> None:
    """Takes back slices that have ended."""
    for each in ended(record, but, now):
        record.slices.remove(each)
        doubt(record, now)


def doubt(record: BudgetRecord, now: int) -> None:
    """Somebody may have spent without a report: the log is asked until it must know."""
    record.doubted_unix_nano = now


def look_due(record: BudgetRecord, now: int) -> bool:
    """Whether the log is to be asked about a doubt: the longer it lasts, the less often."""
    since = now - record.looked_unix_nano
    return bool(record.doubted_unix_nano) and since >= max(LOOK_NANOS, (now - record.doubted_unix_nano) // 4)


def find(record: BudgetRecord, holder: str, accounted: int, logged: int, now: int) -> None:
    """Notes what the log knows to be spent beyond what was accounted for when it was asked.

    What live replicas spent since their last reports is found too, though their slices cover it: so too little is free
    for a while, never too much, and the next look finds less. The doubt ends with a look that no other slice blurred,
    when the log has had time to tell of everything.
    """
    record.found, record.looked_unix_nano = max(0, logged - accounted), now
    if not set_aside(record, but=holder) and now - record.doubted_unix_nano >= DOUBT_NANOS:
        record.doubted_unix_nano = 0


def take(record: BudgetRecord, holder: str, turn: int, amount: int, now: int) -> None:
    """Gives the holder a slice of this amount in place of its last one; one of nothing goes."""
    own = slice_of(record, holder) or record.slices.add(holder=holder)
    own.amount, own.turn, own.expires_unix_nano = amount, turn, now + LEASE_NANOS
    if not amount:
        record.slices.remove(own)


def grant(available: int, first: int, all_of_them: int) -> int:
    """How much a replica gets of what is available: what all its calls need, or as much as there is; a share where that
    is more. Nothing where it is not enough for the first of them."""
    if first > available:
        return 0
    return min(available, max(all_of_them, available // SHARE))
