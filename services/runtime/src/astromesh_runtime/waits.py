"""That a run cannot go on by itself: why, where, and for whom it waits. Raised by what performs an effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_APPROVAL,
    SUSPENSION_REASON_CHILD,
    SUSPENSION_REASON_QUESTION,
    SUSPENSION_REASON_TIMER,
    SUSPENSION_REASON_UNKNOWN,
    SuspensionReason,
)

_URGENCY: Final = (
    SUSPENSION_REASON_UNKNOWN,
    SUSPENSION_REASON_APPROVAL,
    SUSPENSION_REASON_QUESTION,
    SUSPENSION_REASON_CHILD,
    SUSPENSION_REASON_TIMER,
)
"""Whom a run waits for at several places at once, a person needs to know first."""


@dataclass(frozen=True, slots=True)
class Waits(Exception):
    """What an effect needs is not there yet; what it waits for is recorded already. The run is suspended."""

    reason: SuspensionReason.ValueType
    path: str
    detail: str = ""
    """What it waits for, without content."""
    children: tuple[str, ...] = ()
    """The child runs that it waits for."""


def foremost(waits: Sequence[Waits]) -> Waits:
    """The one that the run is suspended for: when it goes on, it comes upon the others. Children are waited for
    together."""
    first = min(waits, key=lambda wait: _URGENCY.index(wait.reason))
    if first.reason != SUSPENSION_REASON_CHILD:
        return first
    children = tuple(child for wait in waits for child in wait.children)
    return Waits(first.reason, first.path, first.detail, children)
