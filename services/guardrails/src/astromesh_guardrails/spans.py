"""Places in a text where something was found: resolving overlaps, writing tags over them. Finding is `detectors`'s."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


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


def redact(text: str, spans: Iterable[Span]) -> str:
    """Returns the text with each span replaced by its kind, as in `[EMAIL]`. The spans are disjoint and in order."""
    parts: list[str] = []
    done = 0
    for start, end, kind in spans:
        parts += (text[done:start], f"[{kind}]")
        done = end
    parts.append(text[done:])
    return "".join(parts)
