"""That a run cannot go on by itself: why, where, and for whom it waits. Raised by what performs an effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_APPROVAL,
    SUSPENSION_REASON_CHILD,
    SUSPENSION_REASON_QUESTION,
    SUSPENSION_REASON_TIMER,
    SUSPENSION_REASON_UNKNOWN,
    SuspensionReason,
)

Value = TypeVar("Value")

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


async def all_of(works: Iterable[Awaitable[Value]]) -> list[Value]:
    """What each comes to, in their order. All of them at once, as far as each comes: what one waits for, or breaks on,
    cuts no other off. Raises what one broke on, else the foremost of what they wait for."""
    settled = await asyncio.gather(*works, return_exceptions=True)
    values, waits = list[Value](), list[Waits]()
    for outcome in settled:
        if isinstance(outcome, Waits):
            waits.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            values.append(outcome)
    if waits:
        raise foremost(waits)
    return values
