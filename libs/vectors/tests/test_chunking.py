"""The chunkers: for any text, nothing lost, nothing too long, every offset true."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astromesh_core.errors import InvalidInput
from astromesh_native.chunking import sentence_edges
from astromesh_native.rulers import Ruler, Word
from astromesh_native.twins.markdown import headings, lines
from astromesh_vectors.chunking import Chunk, Chunking, Strategy, Unit, chunk, ruler_of
from astromesh_vectors.sentences import sentences

STRATEGIES: tuple[Strategy, ...] = ("recursive", "fixed", "sentence", "semantic")
ODD = "ab.  \n\n\r#`-é東e\u0301\u200d🚀👩\u05d0\u0628\0|!?"
texts = st.text(st.sampled_from(ODD), max_size=300) | st.text(max_size=200)


class LetterPairs:
    """Reads two characters of a word as one token."""

    def words(self, text: str) -> Iterator[Word]:
        for match in re.finditer(r"\w+|[^\w\s]", text):
            yield match.start(), match.end(), (len(match.group()) + 1) // 2


@st.composite
def chunkings(draw: st.DrawFn, units: Sequence[Unit] = ("characters", "tokens")) -> Chunking:
    size = draw(st.integers(4, 60))
    separators = draw(st.lists(st.text("ab. \n", min_size=1, max_size=3), max_size=4))
    strategy, unit = draw(st.sampled_from(STRATEGIES)), draw(st.sampled_from(units))
    return Chunking(size, draw(st.integers(0, size - 1)), separators, strategy, unit)


def cut(text: str, chunking: Chunking, markdown: bool = False) -> tuple[list[Chunk], Ruler]:
    ruler = ruler_of(text, chunking, LetterPairs())
    # As if each second sentence were about something else.
    breaks = sentence_edges(text)[::2] if chunking.strategy == "semantic" else []
    allowed = {place for place in breaks if ruler.may_cut(place)}
    return chunk(text, chunking, markdown=markdown, ruler=ruler, breaks=allowed), ruler


@given(texts, chunkings(), st.booleans())
@example("\U0001f680" * 90, Chunking(4, 3, strategy="fixed", unit="tokens"), False)
@example("ab    ", Chunking(4, 3, []), False)
def test_chunks_cover_the_text_within_their_size(text: str, chunking: Chunking, markdown: bool) -> None:
    chunks, ruler = cut(text, chunking, markdown)
    covered: set[int] = set()
    for piece in chunks:
        assert piece.text == text[piece.start : piece.end] == piece.text.strip() != ""
        assert ruler.size(piece.start, piece.end) <= chunking.chunk_size
        covered.update(range(piece.start, piece.end))
    assert all(character.isspace() for place, character in enumerate(text) if place not in covered)


@given(texts, chunkings(), st.booleans())
def test_chunks_advance_and_share_no_more_than_the_overlap(text: str, chunking: Chunking, markdown: bool) -> None:
    chunks, ruler = cut(text, chunking, markdown)
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
        assert after.start >= before.end or ruler.size(after.start, before.end) <= chunking.overlap


@given(st.text(st.sampled_from("ab🚀\u0301\u05d0\0"), max_size=300), chunkings(("characters",)))
def test_fixed_chunks_share_just_the_overlap(text: str, chunking: Chunking) -> None:
    chunks, _ = cut(text, replace(chunking, strategy="fixed"))
    assert all(before.end - after.start == chunking.overlap for before, after in pairwise(chunks))
    assert all(len(piece.text) == chunking.chunk_size for piece in chunks[:-1])


@given(st.lists(st.integers(1, 3), min_size=1, max_size=60), st.integers(0, 9))
def test_fixed_chunks_of_words_share_as_many_as_fit(lengths: list[int], overlap: int) -> None:
    text = " ".join("x" * 2 * length for length in lengths)
    chunks, ruler = cut(text, Chunking(12, overlap, strategy="fixed", unit="tokens"))
    for before, after in pairwise(chunks):
        shared = ruler.size(after.start, before.end)
        assert shared <= overlap
        assert shared + 3 > overlap or before.start + 1 >= after.start


@given(texts)
def test_sentences_are_cut_where_they_begin(text: str) -> None:
    edges = sentence_edges(text)
    assert edges == sorted(edges)
    assert {sentence.start for sentence in sentences(text)} <= set(edges)


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
    [
        (0, 0, [], "chunk_size"),
        (10, 10, [], "overlap"),
        (10, -1, [], "overlap"),
        (10, 2, [""], "separator"),
        (10, 2, ["a"] * 65, "most"),
    ],
)
def test_sizes_that_cannot_be_are_refused(size: int, overlap: int, separators: list[str], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Chunking(size, overlap, separators)


def test_sentences_stay_whole_and_overlap_by_whole_ones() -> None:
    text = "One is short. Two is not so short. Three ends it. Four."
    shared = ["One is short. Two is not so short.", "Two is not so short. Three ends it.", "Three ends it. Four."]
    alone = ["One is short. Two is not so short.", "Three ends it. Four."]
    assert [piece.text for piece in chunk(text, Chunking(40, 22, strategy="sentence"))] == shared
    assert [piece.text for piece in chunk(text, Chunking(40, 0, strategy="sentence"))] == alone


def test_breaks_end_chunks_that_still_share_their_overlap() -> None:
    text = "One is short. Two is not so short. Three ends it. Four."
    breaks = {text.index("Two"), text.index("Four")}
    assert [piece.text for piece in chunk(text, Chunking(90, 15, strategy="semantic"), breaks=breaks)] == [
        "One is short.",
        "Two is not so short. Three ends it.",
        "Three ends it. Four.",
    ]


def test_code_between_sentences_is_a_piece_of_its_own() -> None:
    text = "Run this now.\n\n```\nmake all\n```\n\nThen wait."
    assert [piece.text for piece in chunk(text, Chunking(24, 0, strategy="sentence"))] == [
        "Run this now.",
        "```\nmake all\n```",
        "Then wait.",
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("unit", ["characters", "tokens"])
@pytest.mark.parametrize("part", ["x", "a. ", ".", "[", "\0", "é", "# a   "])
def test_a_long_line_is_cut_in_linear_time(strategy: Strategy, unit: Unit, part: str) -> None:
    text = part * (200_000 // len(part))
    chunks, _ = cut(text, Chunking(500, 50, strategy=strategy, unit=unit))
    assert len(chunks) > 100


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ten_megabytes_without_a_separator_are_cut(strategy: Strategy) -> None:
    chunks, _ = cut("x" * 10_000_000, Chunking(500, 50, strategy=strategy))
    assert 20_000 < len(chunks) < 23_000
