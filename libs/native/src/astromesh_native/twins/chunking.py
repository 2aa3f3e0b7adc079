"""A text to overlapping chunks that end where a reader would pause. Pure.

Rules: a strategy names the places to cut at. `recursive` cuts a text that is too long after the first separator in the
list that it contains, and so on with what is still too long; `sentence` cuts between sentences, and a sentence that is
too long as `recursive` does; what no separator cuts is cut by length. Neighbouring pieces are joined again as long as
they fit. `fixed` cuts by length alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import pairwise
from typing import Literal

from astromesh_native.twins import markdown
from astromesh_native.twins.rulers import CharacterRuler, Ruler
from astromesh_native.twins.sentences import sentence_edges

Strategy = Literal["fixed", "recursive", "sentence"]

Span = tuple[int, int]


def headings(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """The headings of a markdown text: where its line starts, and the titles from the outermost down to its own."""
    return [(heading.start, heading.path) for heading in markdown.headings(text)]


class Chunker:
    """How to cut. Sizes are in the ruler's unit; 0 ≤ overlap < size, no separator is empty. Threads may share it."""

    def __init__(self, strategy: Strategy, size: int, overlap: int, separators: Sequence[str]) -> None:
        self._strategy: Strategy = strategy
        self._size = size
        self._overlap = overlap
        self._separators = separators

    def spans(
        self, text: str, sections: Sequence[Span], ruler: Ruler | None = None, breaks: Set[int] = frozenset()
    ) -> list[tuple[int, int, int]]:
        """Where each chunk starts and ends, white space around it left out, and the number of its section.

        Sections are consecutive spans of the text; chunks of two share nothing. Chunks end at `breaks`, places where
        the text may be cut. Without a ruler, sizes are in characters. Linear in the text.
        """
        cutter = _Cutter(text, ruler or CharacterRuler(), breaks, self._size, self._overlap)
        edges = sentence_edges(text) if self._strategy == "sentence" else []
        found: list[tuple[int, int, int]] = []
        for number, (start, end) in enumerate(sections):
            last_end = start
            for first, past in self._cut(cutter, start, end, edges):
                body = text[first:past]
                begin = first + len(body) - len(body.lstrip())
                last = begin + len(body.strip())
                # One that holds an overlap and white space says nothing new.
                if last > max(begin, last_end):
                    found.append((begin, last, number))
                    last_end = last
        return found

    def _cut(self, cutter: _Cutter, start: int, end: int, edges: Sequence[int]) -> Iterator[Span]:
        match self._strategy:
            case "fixed":
                return cutter.windows(start, end)
            case "recursive":
                return cutter.joined(cutter.pieces(start, end, self._separators))
            case "sentence":
                found = cutter.sentences(start, end, edges)
                return cutter.joined(piece for span in found for piece in cutter.pieces(*span, self._separators))


class _Cutter:
    """Cuts one text, white space around chunks included."""

    def __init__(self, text: str, ruler: Ruler, breaks: Set[int], size: int, overlap: int) -> None:
        self._text = text
        self._ruler = ruler
        self._breaks = breaks
        self._size = size
        self._overlap = overlap

    def windows(self, start: int, end: int) -> Iterator[Span]:
        """Spans as long as can be, each beginning an overlap before the end of the one before."""
        ruler = self._ruler
        past = ruler.forward(start, end, self._size)
        while past < end:
            yield start, past
            beyond = ruler.forward(past, end, 1)
            farthest = max(ruler.forward(start, end, 1), ruler.back(past, self._overlap))
            # As far back as leaves room for what is new.
            start = min(past, max(farthest, ruler.back(beyond, self._size)))
            past = ruler.forward(start, end, self._size)
        yield start, past

    def sentences(self, start: int, end: int, edges: Sequence[int]) -> Iterator[Span]:
        """The span cut at `edges`, those of the whole text; no span is empty."""
        return cut_at(start, end, edges, self._ruler)

    def pieces(self, start: int, end: int, separators: Sequence[str]) -> Iterator[Span]:
        """Consecutive spans, none longer than a chunk, cut at the coarsest separator that works."""
        if self._ruler.size(start, end) <= self._size:
            yield start, end
        elif not separators:
            yield from self._steps(start, end)
        else:
            for first, past in self._split(start, end, separators[0]):
                yield from self.pieces(first, past, separators[1:])

    def joined(self, pieces: Iterable[Span]) -> Iterator[Span]:
        """Runs of neighbouring pieces as long as they fit; the next run begins with those that make up the overlap."""
        run: deque[Span] = deque()
        for start, past in pieces:
            if run and (start in self._breaks or self._ruler.size(run[0][0], past) > self._size):
                yield run[0][0], start
                run.popleft()
                while run and not self._is_shared(run[0][0], start, past):
                    run.popleft()
            run.append((start, past))
        if run:
            yield run[0][0], run[-1][1]

    def _split(self, start: int, end: int, separator: str) -> Iterator[Span]:
        """The span cut after each separator in it."""
        place = start
        while (found := self._text.find(separator, place, end)) >= 0:
            place = found + len(separator)
            if place < end and self._ruler.may_cut(place):
                yield start, place
                start = place
        yield start, end

    def _steps(self, start: int, end: int) -> Iterator[Span]:
        """The span cut by length, no longer than the overlap, or neighbours would share nothing."""
        step = min(self._overlap or self._size, self._size - self._overlap)
        while start < end:
            past = self._ruler.forward(start, end, step)
            yield start, past
            start = past

    def _is_shared(self, begin: int, cut: int, past: int) -> bool:
        """Whether the chunk of the piece from `cut` to `past` may begin so far back."""
        size = self._ruler.size
        return size(begin, cut) <= self._overlap and size(begin, past) <= self._size


def cut_at(start: int, end: int, edges: Sequence[int], ruler: Ruler) -> Iterator[Span]:
    """The span cut at those `edges` in it where a chunk may begin; edges are in order, and no span is empty."""
    within = edges[bisect_right(edges, start) : bisect_left(edges, end)]
    # A sentence that a break in its line tears apart is given twice: edges may repeat.
    cuts = [start, *(place for place in within if ruler.may_cut(place)), end]
    yield from ((first, past) for first, past in pairwise(cuts) if first < past)
