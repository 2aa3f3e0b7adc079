"""How long a piece of a text is and where it may be cut: in characters, or in tokens of whole words. Pure.

Rules for tokens: a cut stands beside a word, never in it; what lies between two words belongs to the first. A word that
no chunk could hold, or that is longer than a model reads, is cut by characters, and so is a gap that is not blank or as
long. What is cut by characters counts by their number when decomposed (NFD), which no tokenizer of words exceeds.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Protocol

LONGEST_WORD = 100
"""Characters. BERT's tokenizers read a longer word as one unknown token."""

Word = tuple[int, int, int]
"""Where a word starts and ends in its text, and how many tokens it is."""


class Words(Protocol):
    """Reads a text as a model does."""

    def words(self, text: str) -> Iterable[Word]:
        """The words of `text` in order, each with its tokens; what lies between them has none."""
        ...


class Ruler(Protocol):
    """Measures one text. Places are offsets in characters; sizes are in the ruler's unit."""

    def size(self, start: int, end: int) -> int:
        """How long the span is."""
        ...

    def may_cut(self, place: int) -> bool:
        """Whether a chunk may begin here."""
        ...

    def forward(self, start: int, end: int, limit: int) -> int:
        """The farthest place up to `end` that is at most `limit` from `start`, though always beyond `start`."""
        ...

    def back(self, end: int, limit: int) -> int:
        """The farthest place before `end` that is at most `limit` from it; `end` where there is none."""
        ...


class CharacterRuler:
    """One character is one unit."""

    def size(self, start: int, end: int) -> int:
        return end - start

    def may_cut(self, place: int) -> bool:
        return True

    def forward(self, start: int, end: int, limit: int) -> int:
        return min(start + max(limit, 1), end)

    def back(self, end: int, limit: int) -> int:
        return max(end - limit, 0)


class WordRuler:
    """Counts tokens by whole words. `most` is the size that no word may exceed; one longer is cut by characters.

    The count of a span is exact where all its words are whole, else an upper bound.
    """

    def __init__(self, text: str, words: Iterable[Word], most: int) -> None:
        self._starts = array("q")
        self._ends = array("q")
        self._sums = array("q", [0])
        for start, end, tokens in _atoms(text, words, most):
            self._starts.append(start)
            self._ends.append(end)
            self._sums.append(self._sums[-1] + tokens)

    def size(self, start: int, end: int) -> int:
        return self._sums[bisect_left(self._starts, end)] - self._sums[bisect_left(self._starts, start)]

    def may_cut(self, place: int) -> bool:
        before = bisect_left(self._starts, place)
        return before == 0 or self._ends[before - 1] <= place

    def forward(self, start: int, end: int, limit: int) -> int:
        first = bisect_left(self._starts, start)
        past = bisect_right(self._sums, self._sums[first] + limit, lo=first) - 1
        past = max(past, first + 1)
        return min(self._starts[past], end) if past < len(self._starts) else end

    def back(self, end: int, limit: int) -> int:
        past = bisect_left(self._starts, end)
        first = bisect_left(self._sums, self._sums[past] - limit, hi=past)
        return self._starts[first] if first < past else end


def _atoms(text: str, words: Iterable[Word], most: int) -> Iterator[Word]:
    """The words and what else counts, each no longer than `most` tokens unless a single character is."""
    done = 0
    for start, end, tokens in words:
        yield from _gap(text, done, start, most)
        if tokens > most or end - start > LONGEST_WORD:
            yield from _by_characters(text, start, end, most)
        else:
            yield start, end, tokens
        done = end
    yield from _gap(text, done, len(text), most)


def _gap(text: str, start: int, end: int, most: int) -> Iterator[Word]:
    if end - start > LONGEST_WORD or text[start:end].strip():
        yield from _by_characters(text, start, end, most)


def _by_characters(text: str, start: int, end: int, most: int) -> Iterator[Word]:
    step = max(1, most // 8)
    for first in range(start, end, step):
        past = min(first + step, end)
        yield first, past, most_tokens(text[first:past])


def most_tokens(text: str) -> int:
    """What no count of a part of a word exceeds: each token is of one character at least, once that is decomposed."""
    return len(unicodedata.normalize("NFD", text))
