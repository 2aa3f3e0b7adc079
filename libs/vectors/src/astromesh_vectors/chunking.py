"""The recursive chunker: a text to overlapping pieces that end where a reader would pause. Pure; stores nothing.

Rule: a text that is too long is cut after the first separator in the list that it contains, and pieces are joined
again as long as they fit; a piece that is still too long is cut by the next separators, and by length when none is
left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from astromesh_core.errors import InvalidInput
from astromesh_vectors.markdown import headings

SEPARATORS = ("\n\n", "\n", ". ", " ")


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
    """How to cut: sizes in characters. Raises InvalidInput for sizes that cannot be, as overlap ≥ chunk_size."""

    chunk_size: int = 500
    overlap: int = 50
    separators: Sequence[str] = SEPARATORS

    def __post_init__(self) -> None:
        if self.chunk_size < 1:
            raise InvalidInput(f"chunk_size is {self.chunk_size}; it must be at least 1")
        if not 0 <= self.overlap < self.chunk_size:
            raise InvalidInput(f"overlap is {self.overlap}; it must be from 0 to below chunk_size, {self.chunk_size}")
        if "" in self.separators:
            raise InvalidInput("a separator is empty; leave it out, cutting by length is the last resort anyway")


def chunk(text: str, chunking: Chunking, *, markdown: bool = False) -> list[Chunk]:
    """Pieces of at most `chunk_size` characters that together cover every character but white space around them.

    Neighbours share up to `overlap` characters, taken from whole pieces so that an overlap starts at a separator
    where the text allows. With `markdown`, a heading starts a new chunk and chunks know the titles above them. A text
    of white space alone gives none.
    """
    found = headings(text) if markdown else []
    edges = [0, *(heading.start for heading in found if heading.start > 0), len(text)]
    starts = [heading.start for heading in found]
    chunks: list[Chunk] = []
    for begin, end in pairwise(edges):
        above = bisect_right(starts, begin)
        path = found[above - 1].path if above else ()
        chunks.extend(_section(text, begin, end, chunking, path))
    return chunks


def _section(text: str, begin: int, end: int, chunking: Chunking, path: tuple[str, ...]) -> Iterator[Chunk]:
    for start, past in _joined(list(_pieces(text, begin, end, chunking)), chunking):
        body = text[start:past]
        first = start + len(body) - len(body.lstrip())
        last = first + len(body.strip())
        if first < last:
            yield Chunk(text[first:last], first, last, path)


def _pieces(text: str, begin: int, end: int, chunking: Chunking) -> Iterator[tuple[int, int]]:
    """Consecutive spans from `begin` to `end`, none longer than a chunk, cut at the coarsest separator that works."""
    pending = [(begin, end, 0)]
    while pending:
        start, past, level = pending.pop()
        if past - start <= chunking.chunk_size:
            yield start, past
        elif level == len(chunking.separators):
            # Steps no longer than the overlap, or neighbours cut by length would share nothing.
            step = min(chunking.overlap or chunking.chunk_size, chunking.chunk_size - chunking.overlap)
            cuts = [*range(start, past, step), past]
            yield from pairwise(cuts)
        else:
            spans = _split(text, start, past, chunking.separators[level])
            pending.extend((first, last, level + 1) for first, last in reversed(spans))


def _split(text: str, start: int, past: int, separator: str) -> list[tuple[int, int]]:
    """The span cut after each separator in it."""
    spans: list[tuple[int, int]] = []
    while (found := text.find(separator, start, past)) >= 0:
        spans.append((start, found + len(separator)))
        start = found + len(separator)
    if start < past:
        spans.append((start, past))
    return spans


def _joined(pieces: list[tuple[int, int]], chunking: Chunking) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring pieces as long as they fit; the next run begins with the pieces that make up the overlap."""
    first = 0
    for index, (start, past) in enumerate(pieces):
        if past - pieces[first][0] <= chunking.chunk_size:
            continue
        yield pieces[first][0], start
        first = _overlap_from(pieces, first, index, chunking)
    if pieces:
        yield pieces[first][0], pieces[-1][1]


def _overlap_from(pieces: list[tuple[int, int]], first: int, index: int, chunking: Chunking) -> int:
    """The piece to begin the chunk of piece `index` with: as far back as the overlap reaches and the size allows."""
    cut, past = pieces[index]
    begin = index
    while begin - 1 > first and cut - pieces[begin - 1][0] <= chunking.overlap:
        if past - pieces[begin - 1][0] > chunking.chunk_size:
            break
        begin -= 1
    return begin
