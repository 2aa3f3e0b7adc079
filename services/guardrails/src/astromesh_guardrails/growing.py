"""Answers checked while they are written: what no rule can change any more is let go, the rest is held back.

A rule's findings in a text may change with what follows, but only near its end: no finding that can still change begins
more than the rule's reach before it. So a text is cut between two words, at least that far from its end, and never
within a finding. Words that have no spaces between them are cut where no finding of any kind goes on, further from the
end; a row of characters that keys and addresses are made of is not cut at all. Cut so, the pieces together are what
checking the whole at once gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from astromesh_guardrails.spans import redact
from astromesh_native.spans import Span

REACH: Final = 128
"""Characters. Longer than any entity with spaces in it, and what must follow it to be one."""

FAR_REACH: Final = 512
"""Longer than an address without spaces in any script."""

REMEMBERED: Final = 192
"""Characters before a piece that it is judged with."""

_UNBROKEN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.+/=@:%~#&?")


class State(NamedTuple):
    """How far a rule has come with an answer."""

    before: str = ""
    """What was let go last, as the rule saw it."""
    held: str = ""
    released: int = 0
    """Characters let go."""


class Step(Protocol):
    """A rule that can be applied to a growing text."""

    def part(self, state: State, text: str, *, last: bool) -> tuple[str, State]:
        """What can be let go once `text` follows, and where that leaves the rule. With `last`, everything."""
        ...


class Finder(Protocol):
    """A rule that writes over what it finds."""

    @property
    def reach(self) -> int:
        """How near the end of a text, in characters, a finding may begin that can still change."""
        ...

    def find(self, text: str) -> Sequence[Span]:
        """What it writes over, disjoint and in order of place."""
        ...


class Redacting:
    """Writes over findings, each whole."""

    def __init__(self, rule: Finder) -> None:
        self._rule = rule

    def part(self, state: State, text: str, *, last: bool) -> tuple[str, State]:
        """See Step."""
        whole, begin = state.before + state.held + text, len(state.before)
        spans = self._rule.find(whole)
        cut = len(whole) if last else max(begin, settled(whole, spans, begin, self._rule.reach))
        told = [
            Span(max(span.start, begin) - begin, span.end - begin, span.kind)
            for span in spans
            if begin < span.end <= cut
        ]
        released = redact(whole[begin:cut], told)
        before = whole[_start(whole, spans, cut) : cut]
        return released, State(before, whole[cut:], state.released + len(released))


class Truncating:
    """Lets so many characters go, and no more."""

    def __init__(self, most: int) -> None:
        self._most = most

    def part(self, state: State, text: str, *, last: bool) -> tuple[str, State]:
        """See Step."""
        released = text[: max(0, self._most - state.released)]
        return released, State(released=state.released + len(released))


def settled(text: str, spans: Sequence[Span], begin: int, reach: int) -> int:
    """Where a text can be cut, at or after `begin`: what stands before stays as it is, whatever follows."""
    cut = _between_words(text, begin, len(text) - reach)
    if cut <= begin:
        cut = _within_script(text, begin, len(text) - max(FAR_REACH, reach))
    for span in spans:
        if span.start < cut < span.end:
            return span.start
    return cut


def _between_words(text: str, begin: int, limit: int) -> int:
    """The last place up to the limit that has a space on one side; `begin` where there is none."""
    for place in range(min(limit, len(text)), begin, -1):
        if text[place - 1].isspace() or (place < len(text) and text[place].isspace()):
            return place
    return begin


def _within_script(text: str, begin: int, limit: int) -> int:
    """The last place up to the limit that is within no unbroken row; `begin` where there is none."""
    for place in range(min(limit, len(text)), begin, -1):
        if place == len(text) or text[place - 1] not in _UNBROKEN or text[place] not in _UNBROKEN:
            return place
    return begin


def _start(text: str, spans: Sequence[Span], cut: int) -> int:
    """Where what is remembered begins: with a word, and never within a finding or right at it, or what is left of it is
    another."""
    start = _word_at(text, cut - REMEMBERED)
    for span in reversed(spans):
        if span.start <= start < span.end:
            start = _word_at(text, span.start - 1)
    return start


def _word_at(text: str, place: int) -> int:
    """Where the word at a place begins, as far back as a finding without spaces may."""
    if place <= 0:
        return 0
    spaces = (at for at in range(place, max(0, place - FAR_REACH), -1) if text[at - 1].isspace())
    return next(spaces, max(0, place - FAR_REACH))


def grow(steps: Sequence[Step], states: Sequence[State], text: str, *, last: bool) -> tuple[str, list[State]]:
    """Sends a piece through all steps in their order; without states, as the first of an answer."""
    left: list[State] = []
    for step, state in zip(steps, states or [State()] * len(steps), strict=True):
        text, after = step.part(state, text, last=last)
        left.append(after)
    return text, left
