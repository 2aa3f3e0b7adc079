"""Rust cuts every text just where its twin cuts it."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astromesh_native.choice import CHOICE
from astromesh_native.twins import chunking as twin
from astromesh_native.twins import rulers, sentences

if CHOICE.rust:
    import astromesh_native_rust as rust
else:
    pytest.skip(f"twins alone: {CHOICE.reason}", allow_module_level=True)

STRATEGIES = get_args(twin.Strategy)
TABLE_VERSION = "14.0.0"
"""Of Unicode, in crates/core/tables/python.txt. Letters of a later one are letters to newer Pythons alone."""

# What lines, markers, sentences and separators are made of: a text of a few of them is often one, or almost one.
PIECES = (
    *" \t\n\r.!?…。！？।\"'”’)]*_`#>|-+=~:1²٣०",
    *("\n\n", "\r\n", "\r\r\n", "\0", "\x1c", "\u2028", "\x85", "\u3000", "   ", "    "),
    *("# ", "## ", "####### ", "# # ", " #", "```", "~~~~", "```py", "---", "- - -", "===", "| a |", "|", "[x] "),
    *("1. ", "12) ", "1234567890. ", "٣. ", "- ", "* ", "> ", ">> "),
    *("Dr.", "e.g.", "I.", "J.", "É.", "ǅ.", "fig.", "x.y.", "a_b.", "3.14", "No. 5", "K.", "etc..", "Mr. Ⅷ."),
    *("word", "Word", "wörd", "é", "e\u0301", "🙂", "👩\u200d👩\u200d👧", "שלום", "مرحبا", "\u202e"),
    *("東京", "한국", "ß", "ⅷ", "𝒜", "\ufeff"),
    *("\ud83d", "\udc00", "x" * 40, "é" * 30),
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=80)


@st.composite
def cuttings(draw: st.DrawFn) -> tuple[twin.Strategy, int, int, list[str]]:
    size = draw(st.integers(1, 40) | st.integers(1, 400))
    separators = draw(st.lists(st.sampled_from(["\n\n", "\n", ". ", " ", "é", "wor", "\0", "🙂", "xx"]), max_size=4))
    return draw(st.sampled_from(STRATEGIES)), size, draw(st.integers(0, size - 1)), separators


@st.composite
def spans_of(draw: st.DrawFn, text: str) -> list[tuple[int, int]]:
    """Consecutive spans, as sections are."""
    inner = draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=3))
    edges = [0, *sorted(edge for edge in inner if edge < len(text)), len(text)]
    return list(pairwise(edges)) if text else []


@st.composite
def words_of(draw: st.DrawFn, text: str) -> list[tuple[int, int, int]]:
    """Words apart from each other, in order, each with some tokens."""
    edges = sorted(draw(st.sets(st.integers(0, len(text)), max_size=20)))
    tokens = st.integers(1, 12)
    return [(start, end, draw(tokens)) for start, end in zip(edges[::2], edges[1::2], strict=False)]


@given(st.data(), texts, cuttings())
@settings(max_examples=500, deadline=None)
def test_chunks_by_characters(
    data: st.DataObject, text: str, cutting: tuple[twin.Strategy, int, int, list[str]]
) -> None:
    sections = data.draw(spans_of(text))
    breaks = data.draw(st.sets(st.integers(0, len(text)), max_size=4))
    theirs = twin.Chunker(*cutting).spans(text, sections, None, breaks)
    assert rust.Chunker(*cutting).spans(text, sections, None, breaks) == theirs


@given(st.data(), texts, cuttings())
@settings(max_examples=400, deadline=None)
def test_chunks_by_tokens(data: st.DataObject, text: str, cutting: tuple[twin.Strategy, int, int, list[str]]) -> None:
    sections, words = data.draw(spans_of(text)), data.draw(words_of(text))
    breaks = data.draw(st.sets(st.integers(0, len(text)), max_size=4))
    theirs = twin.Chunker(*cutting).spans(text, sections, rulers.WordRuler(text, words, cutting[1]), breaks)
    ruler = rust.WordRuler(text, words, cutting[1])
    assert rust.Chunker(*cutting).spans(text, sections, ruler, breaks) == theirs


@given(st.data(), texts, st.integers(1, 40), st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_rulers(data: st.DataObject, text: str, most: int, limit: int) -> None:
    words = data.draw(words_of(text))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    theirs, ours = rulers.WordRuler(text, words, most), rust.WordRuler(text, words, most)
    assert ours.size(start, end) == theirs.size(start, end)
    assert ours.may_cut(start) == theirs.may_cut(start)
    assert ours.forward(start, end, limit) == theirs.forward(start, end, limit)
    assert ours.back(end, limit) == theirs.back(end, limit)


@given(texts)
@settings(max_examples=500, deadline=None)
@example("```\n# no heading\n``\n````  \n# one #\n#two\n##  \n")
def test_headings(text: str) -> None:
    assert rust.headings(text) == twin.headings(text)


@given(texts)
@settings(max_examples=600, deadline=None)
@example("He met Dr. Who. It was vs. all. U.S.A. is. an_initial_of_more_than_twenty_letters.J. Go. 3. On")
def test_sentence_edges(text: str) -> None:
    assert rust.sentence_edges(text) == sentences.sentence_edges(text)


def telling() -> Iterator[str]:
    """Every character of which much is held, and each 97th of the others."""
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category != "Cs" and (category not in ("Cn", "Co", "Lo") or code % 97 == 0):
            yield chr(code)


@pytest.mark.skipif(unicodedata.unidata_version != TABLE_VERSION, reason=f"the tables are of Unicode {TABLE_VERSION}")
def test_what_a_character_is() -> None:
    text = "\n\n".join(f"{c}. a{c}. {c}b. {c} B. {c}c.\n{c}. d" for c in telling() if not c.isspace())
    assert rust.sentence_edges(text) == sentences.sentence_edges(text)
    apart = "".join(telling())
    theirs, ours = rulers.WordRuler(apart, [], 8), rust.WordRuler(apart, [], 8)
    assert all(ours.size(0, place) == theirs.size(0, place) for place in range(0, len(apart), 7))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("letter", ["x", "é", "🙂", "\0", "."])
def test_ten_megabytes_without_a_separator(strategy: twin.Strategy, letter: str) -> None:
    text = letter * (10_000_000 // len(letter.encode()))
    cutting = (strategy, 500, 50, ["\n\n", "\n", " "])
    sections = [(0, len(text))]
    assert rust.Chunker(*cutting).spans(text, sections) == twin.Chunker(*cutting).spans(text, sections)


def test_a_difference_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_ABBREVIATIONS", frozenset({"mr"}))
    with pytest.raises(AssertionError):
        test_sentence_edges()
