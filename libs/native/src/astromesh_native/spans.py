"""Places in a text where something was found, and what became of places that overlap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, get_args

Entity = Literal["email", "phone", "iban", "credit_card", "us_ssn", "ip_address", "secret"]
"""What can be looked for."""

ENTITIES: Final[tuple[Entity, ...]] = get_args(Entity)

PRECEDENCE: Final = ("PRIVATE_KEY", "API_KEY", "EMAIL", "IBAN", "CREDIT_CARD", "US_SSN", "IP_ADDRESS", "PHONE")
"""The kinds that are found. Where findings overlap, the kind with the surer evidence names the place."""


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text, and what they are."""

    start: int
    end: int
    kind: str


def disjoint(spans: Iterable[Span], precedence: tuple[str, ...]) -> list[Span]:
    """Returns spans that do not overlap, in order of place, covering every character that any given span covers.

    Overlapping spans become one, of the kind that stands first in `precedence`: covering the union means that
    redaction never leaves the rest of a loser behind.
    """
    rank = {kind: place for place, kind in enumerate(precedence)}
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            kind = min(last.kind, span.kind, key=rank.__getitem__)
            merged[-1] = Span(last.start, max(last.end, span.end), kind)
        else:
            merged.append(span)
    return merged
