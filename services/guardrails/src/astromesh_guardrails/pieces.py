"""Cuts a text into pieces of about a sentence, so that what stands in the midst of it is compared by itself. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

LONGEST: Final = 400
"""Characters: what an embedder reads at once, and still a thought of its own."""

_END: Final = re.compile(r"[.!?。！？।\n]+[\"'”’)\]]*")
_GOES_ON: Final = re.compile(r"[.!?]++[\"'”’)\]]*+(?!\s|$)")
"""A mark within a word, a number or an address ends nothing. Apart from the above, which so finds its marks faster."""
_LETTER: Final = re.compile(r"[^\W_]")


class Piece(NamedTuple):
    """Characters `start` to `end` of a text, and how they read."""

    start: int
    end: int
    text: str


def pieces(text: str) -> list[Piece]:
    """The pieces of a text, in order, with every letter and digit of it: code, tables and headings included."""
    found: list[Piece] = []
    for piece in sentences_of(text):
        start = piece.start
        while piece.end - start > LONGEST:
            cut = text.rfind(" ", start + 1, start + LONGEST)
            cut = cut if cut > start else start + LONGEST
            _add(found, text, start, cut)
            start = cut
        _add(found, text, start, piece.end)
    return found


def sentences_of(text: str) -> list[Piece]:
    """The same however long a sentence is."""
    found: list[Piece] = []
    start = 0
    for end in _ends(text):
        _add(found, text, start, end)
        start = end
    return found


def sentences_around(text: str, places: Iterable[int]) -> list[Piece]:
    """The sentences in which these places are, in order, each once; the places are in order. Costs little where they
    are few: the others are not looked at."""
    found: list[Piece] = []
    ends = _ends(text)
    last = -1
    for place in places:
        number = bisect_right(ends, place)
        if number != last:
            _add(found, text, ends[number - 1] if number else 0, ends[number])
            last = number
    return found


def _ends(text: str) -> list[int]:
    """Where sentences end, the text's own end among them, and beyond it nothing."""
    return [end.end() for end in _END.finditer(text) if not _GOES_ON.match(text, end.start())] + [len(text) + 1]


def _add(found: list[Piece], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    shown = piece.strip()
    if _LETTER.search(shown):
        start += len(piece) - len(piece.lstrip())
        found.append(Piece(start, start + len(shown), shown))
