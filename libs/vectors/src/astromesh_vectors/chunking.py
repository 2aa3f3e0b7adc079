"""A text to overlapping chunks that end where a reader would pause. No model is asked here; native does the cutting.

Rules: `fixed` cuts by length alone, `recursive` after the coarsest separator that works, `sentence` and `semantic`
between sentences, where `semantic` ends a chunk at breaks of meaning too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from astromesh_core.errors import InvalidInput
from astromesh_native.chunking import Chunker, headings
from astromesh_native.rulers import CharacterRuler, Ruler, WordRuler, Words

SEPARATORS = ("\n\n", "\n", ". ", " ")
SIMILARITY_THRESHOLD = 0.5
MOST_SEPARATORS = 64

Strategy = Literal["recursive", "fixed", "sentence", "semantic"]
Unit = Literal["characters", "tokens"]


class Chunk(NamedTuple):
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
        if len(self.separators) > MOST_SEPARATORS:
            raise InvalidInput(f"there are {len(self.separators)} separators; {MOST_SEPARATORS} are the most")


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
    breaks: Set[int] = frozenset(),
) -> list[Chunk]:
    """Chunks of at most `chunk_size` that together cover every character but white space around them.

    Neighbours share up to `overlap`: of `fixed` as much as whole units allow, else whole pieces, so that an overlap
    starts where the text may be cut. With `markdown`, a heading starts a new chunk, which shares nothing with the one
    before, and chunks know the titles above them. Chunks end at `breaks`, places where the text may be cut. A text of
    white space alone gives none. In tokens, a single character of more than `chunk_size` stands alone.
    """
    strategy = "sentence" if chunking.strategy == "semantic" else chunking.strategy
    chunker = Chunker(strategy, chunking.chunk_size, chunking.overlap, chunking.separators)
    parts = list(sections(text, markdown=markdown))
    measure = None if isinstance(ruler, CharacterRuler) else ruler
    spans = chunker.spans(text, [(part.start, part.end) for part in parts], measure, breaks)
    return [Chunk(text[start:end], start, end, parts[number].path) for start, end, number in spans]


def sections(text: str, *, markdown: bool) -> Iterator[Section]:
    """The sections of a text in order, without the empty ones; together they are the whole text."""
    found = headings(text) if markdown else []
    starts = [start for start, _ in found]
    edges = [0, *(start for start in starts if start > 0), len(text)]
    for begin, end in pairwise(edges):
        above = bisect_right(starts, begin)
        if begin < end:
            yield Section(begin, end, found[above - 1][1] if above else ())
