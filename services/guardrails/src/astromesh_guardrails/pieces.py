"""Cuts a text into pieces of about a sentence, so that what stands in the midst of it is compared by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    for start, end in _sentences(text):
        while end - start > LONGEST:
            cut = text.rfind(" ", start + 1, start + LONGEST)
            cut = cut if cut > start else start + LONGEST
            _add(found, text, start, cut)
            start = cut
        _add(found, text, start, end)
    return found


def has_words(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return _LETTER.search(text) is not None


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for mark in _END.finditer(text):
        if not _GOES_ON.match(text, mark.start()):
            yield start, mark.end()
            start = mark.end()
    yield start, len(text)


def _add(found: list[Piece], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    shown = piece.strip()
    if has_words(shown):
        start += len(piece) - len(piece.lstrip())
        found.append(Piece(start, start + len(shown), shown))
