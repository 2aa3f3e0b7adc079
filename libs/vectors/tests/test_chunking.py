"""The recursive chunker: for any text, nothing lost, nothing too long, every offset true."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.errors import InvalidInput
from astromesh_vectors.chunking import Chunk, Chunking, chunk
from astromesh_vectors.markdown import headings, lines

texts = st.text(st.sampled_from("ab.  \n\n#`-é東"), max_size=300) | st.text(max_size=200)


@st.composite
def chunkings(draw: st.DrawFn) -> Chunking:
    size = draw(st.integers(1, 60))
    separators = draw(st.lists(st.text("ab. \n", min_size=1, max_size=3), max_size=4))
    return Chunking(size, draw(st.integers(0, size - 1)), separators)


@given(texts, chunkings(), st.booleans())
def test_chunks_cover_the_text_within_their_size(text: str, chunking: Chunking, markdown: bool) -> None:
    chunks = chunk(text, chunking, markdown=markdown)
    covered: set[int] = set()
    for piece in chunks:
        assert piece.text == text[piece.start : piece.end] == piece.text.strip() != ""
        assert len(piece.text) <= chunking.chunk_size
        covered.update(range(piece.start, piece.end))
    assert all(character.isspace() for place, character in enumerate(text) if place not in covered)


@given(texts, chunkings(), st.booleans())
def test_chunks_advance_and_share_no_more_than_the_overlap(text: str, chunking: Chunking, markdown: bool) -> None:
    chunks = chunk(text, chunking, markdown=markdown)
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
        assert before.end - after.start <= chunking.overlap


@given(texts)
def test_lines_are_the_whole_text(text: str) -> None:
    found = list(lines(text))
    assert "".join(text[line.start : line.end] for line in found) == text
    assert all(line.start <= line.body_start <= line.body_end <= line.end for line in found)


def test_cuts_at_paragraphs_before_sentences_before_words() -> None:
    text = "First paragraph here.\n\nSecond one. It has two sentences."
    assert [piece.text for piece in chunk(text, Chunking(25, 0))] == [
        "First paragraph here.",
        "Second one.",
        "It has two sentences.",
    ]


def test_neighbours_overlap_by_whole_words() -> None:
    pieces = chunk("one two three four five six", Chunking(14, 6))
    assert [piece.text for piece in pieces] == ["one two three", "three four", "four five six"]


def test_a_long_word_is_cut_by_length_with_its_overlap() -> None:
    pieces = chunk("x" * 25, Chunking(10, 4))
    assert [(piece.start, piece.end) for piece in pieces][:2] == [(0, 8), (4, 12)]
    assert pieces[-1].end == 25


def test_a_heading_starts_a_chunk_that_knows_the_titles_above() -> None:
    text = "# Guide\nintro\n## Install\nrun it\n### Linux ##\napt\n## Use\n```\n# no heading\n```\n"
    pieces = chunk(text, Chunking(200, 20), markdown=True)
    assert [(piece.text.split("\n")[0], piece.headings) for piece in pieces] == [
        ("# Guide", ("Guide",)),
        ("## Install", ("Guide", "Install")),
        ("### Linux ##", ("Guide", "Install", "Linux")),
        ("## Use", ("Guide", "Use")),
    ]


def test_text_before_the_first_heading_has_no_titles() -> None:
    assert chunk("hello\n# A\nb", Chunking(), markdown=True)[0] == Chunk("hello", 0, 5)
    assert [heading.path for heading in headings("## B\n# A\n")] == [("B",), ("A",)]


@pytest.mark.parametrize(
    ("size", "overlap", "separators", "reason"),
    [(0, 0, [], "chunk_size"), (10, 10, [], "overlap"), (10, -1, [], "overlap"), (10, 2, [""], "separator")],
)
def test_sizes_that_cannot_be_are_refused(size: int, overlap: int, separators: list[str], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Chunking(size, overlap, separators)


def test_a_megabyte_without_separators_is_cut_in_linear_time() -> None:
    assert len(chunk("x" * 1_000_000, Chunking(500, 50))) > 2000
    assert len(chunk("a " * 500_000, Chunking(500, 50))) > 2000
