"""A text to overlapping chunks that end where a reader would pause. Pure: nothing is stored and no model is asked here.

Rules: a strategy names the places to cut at. `recursive` cuts a text that is too long after the first separator in the
list that it contains, and so on with what is still too long; `sentence` and `semantic` cut between sentences, and a
sentence that is too long as `recursive` does; what no separator cuts is cut by length. Neighbouring pieces are joined
again as long as they fit. `fixed` cuts by length alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from astromesh_core.errors import InvalidInput
from astromesh_vectors.markdown import headings
from astromesh_vectors.rulers import CharacterRuler, Ruler, WordRuler, Words
from astromesh_vectors.sentences import sentence_edges

SEPARATORS = ("\n\n", "\n", ". ", " ")
SIMILARITY_THRESHOLD = 0.5

Strategy = Literal["recursive", "fixed", "sentence", "semantic"]
Unit = Literal["characters", "tokens"]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text` is the document from `start` to `end`, in characters."""

    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    """The markdown titles in force at its start, outermost first."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """How to cut: sizes in `unit`. Raises InvalidInput for sizes that cannot be, as overlap ≥ chunk_size."""

    chunk_size: int = 500
    overlap: int = 50
    separators: Sequence[str] = SEPARATORS
    strategy: Strategy = "recursive"
    unit: Unit = "characters"
    similarity_threshold: float = SIMILARITY_THRESHOLD
    """Of `semantic`: neighbours whose cosine is below it are of two chunks."""

    def __post_init__(self) -> None:
        if self.chunk_size < 1:
            raise InvalidInput(f"chunk_size is {self.chunk_size}; it must be at least 1")
        if not 0 <= self.overlap < self.chunk_size:
            raise InvalidInput(f"overlap is {self.overlap}; it must be from 0 to below chunk_size, {self.chunk_size}")
        if "" in self.separators:
            raise InvalidInput("a separator is empty; leave it out, cutting by length is the last resort anyway")


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading, from the heading on; a text without any is one section."""

    start: int
    end: int
    path: tuple[str, ...]


def ruler_of(text: str, chunking: Chunking, words: Words) -> Ruler:
    """What measures this text; `words` is asked for tokens alone."""
    if chunking.unit == "characters":
        return CharacterRuler()
    return WordRuler(text, words.words(text), chunking.chunk_size)


def chunk(
    text: str,
    chunking: Chunking,
    *,
    markdown: bool = False,
    ruler: Ruler | None = None,
    breaks: Container[int] = (),
) -> list[Chunk]:
    """Chunks of at most `chunk_size` that together cover every character but white space around them.

    Neighbours share up to `overlap`: of `fixed` as much as whole units allow, else whole pieces, so that an overlap
    starts where the text may be cut. With `markdown`, a heading starts a new chunk, which shares nothing with the one
    before, and chunks know the titles above them. Chunks end at `breaks`, places where the text may be cut. A text of
    white space alone gives none. In tokens, a single character of more than `chunk_size` stands alone.
    """
    cutter = _Cutter(text, chunking, ruler or CharacterRuler(), breaks)
    chunks: list[Chunk] = []
    for section in sections(text, markdown=markdown):
        last_end = section.start
        for start, past in cutter.spans(section):
            body = text[start:past]
            first = start + len(body) - len(body.lstrip())
            last = first + len(body.strip())
            # One that holds an overlap and white space says nothing new.
            if last > max(first, last_end):
                chunks.append(Chunk(text[first:last], first, last, section.path))
                last_end = last
    return chunks


def sections(text: str, *, markdown: bool) -> Iterator[Section]:
    """The sections of a text in order, without the empty ones; together they are the whole text."""
    found = headings(text) if markdown else []
    edges = [0, *(heading.start for heading in found if heading.start > 0), len(text)]
    starts = [heading.start for heading in found]
    for begin, end in pairwise(edges):
        above = bisect_right(starts, begin)
        if begin < end:
            yield Section(begin, end, found[above - 1].path if above else ())


def sentence_spans(section: Section, edges: Sequence[int], ruler: Ruler) -> Iterator[Span]:
    """The section cut at `edges`, those of the whole text; no span is empty."""
    within = edges[bisect_right(edges, section.start) : bisect_left(edges, section.end)]
    # A sentence that a break in its line tears apart is given twice: edges may repeat.
    cuts = [section.start, *(place for place in within if ruler.may_cut(place)), section.end]
    yield from ((start, past) for start, past in pairwise(cuts) if start < past)


class _Cutter:
    """Cuts the sections of one text."""

    def __init__(self, text: str, chunking: Chunking, ruler: Ruler, breaks: Container[int]) -> None:
        self._text = text
        self._chunking = chunking
        self._ruler = ruler
        self._breaks = breaks
        self._edges = sentence_edges(text) if chunking.strategy in ("sentence", "semantic") else []

    def spans(self, section: Section) -> Iterator[Span]:
        """The chunks of a section, white space around them included."""
        match self._chunking.strategy:
            case "fixed":
                return self._windows(section.start, section.end)
            case "recursive":
                return self._joined(self._pieces(section.start, section.end, 0))
            case "sentence" | "semantic":
                found = sentence_spans(section, self._edges, self._ruler)
                return self._joined(piece for start, end in found for piece in self._pieces(start, end, 0))

    def _windows(self, start: int, end: int) -> Iterator[Span]:
        """Spans as long as can be, each beginning an overlap before the end of the one before."""
        ruler, size = self._ruler, self._chunking.chunk_size
        past = ruler.forward(start, end, size)
        while past < end:
            yield start, past
            beyond = ruler.forward(past, end, 1)
            farthest = max(ruler.forward(start, end, 1), ruler.back(past, self._chunking.overlap))
            # As far back as leaves room for what is new.
            start = min(past, max(farthest, ruler.back(beyond, size)))
            past = ruler.forward(start, end, size)
        yield start, past

    def _pieces(self, start: int, end: int, level: int) -> Iterator[Span]:
        """Consecutive spans, none longer than a chunk, cut at the coarsest separator that works."""
        separators = self._chunking.separators
        if self._ruler.size(start, end) <= self._chunking.chunk_size:
            yield start, end
        elif level == len(separators):
            yield from self._steps(start, end)
        else:
            for first, past in self._split(start, end, separators[level]):
                yield from self._pieces(first, past, level + 1)

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
        size, overlap = self._chunking.chunk_size, self._chunking.overlap
        step = min(overlap or size, size - overlap)
        while start < end:
            past = self._ruler.forward(start, end, step)
            yield start, past
            start = past

    def _joined(self, pieces: Iterable[Span]) -> Iterator[Span]:
        """Runs of neighbouring pieces as long as they fit; the next run begins with those that make up the overlap."""
        run: deque[Span] = deque()
        for start, past in pieces:
            if run and (start in self._breaks or self._ruler.size(run[0][0], past) > self._chunking.chunk_size):
                yield run[0][0], start
                run.popleft()
                while run and not self._is_shared(run[0][0], start, past):
                    run.popleft()
            run.append((start, past))
        if run:
            yield run[0][0], run[-1][1]

    def _is_shared(self, begin: int, cut: int, past: int) -> bool:
        """Whether the chunk of the piece from `cut` to `past` may begin so far back."""
        size = self._ruler.size
        return size(begin, cut) <= self._chunking.overlap and size(begin, past) <= self._chunking.chunk_size
