"""Writes tags over places in a text. Finding the places is the scan's."""

from __future__ import annotations

from collections.abc import Iterable

from astromesh_native.spans import Span


def redact(text: str, spans: Iterable[Span]) -> str:
    """Returns the text with each span replaced by its kind, as in `[EMAIL]`. The spans are disjoint and in order."""
    parts: list[str] = []
    done = 0
    for start, end, kind in spans:
        parts += (text[done:start], f"[{kind}]")
        done = end
    parts.append(text[done:])
    return "".join(parts)
