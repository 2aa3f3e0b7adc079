"""Rust reads just the words and tokens that the `tokenizers` library reads with MiniLM's vocabulary."""

from __future__ import annotations

import json
import sys
import unicodedata
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astromesh_native.choice import CHOICE
from astromesh_native.rulers import WordRuler
from astromesh_native.twins import rulers
from astromesh_native.twins.wordpiece import WINDOW
from astromesh_native.wordpiece import TokenReader, token_reader
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model

needs_rust = pytest.mark.skipif(not CHOICE.rust, reason=f"twins alone: {CHOICE.reason}")

PIECES = (
    *" \t\n.,-_'[]#@\0\x1c\x85\u2028\u200d\u00ad\ufffd",
    *("unaffable", "retrieval", "Astromesh", "THE", "naïve", "e\u0301", "\u0301", "İstanbul", "ﬁn", "ß", "ẞ", "Ⅷ"),
    *("한국어", "東京", "豈", "שָׁלוֹם", "مرحبا", "हिन्दी", "ไทย", "🙂", "👩\u200d👩", "≠", ";", "x" * 99),
    *("é" * 100, "\u0301" * 120, "\U0001d165\u0300", "\u302e\u302f", "a\u0323\u0307"),
    *("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[cls]", "[MASK", "##ing"),
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60)


@cache
def both() -> tuple[TokenReader, TokenReader]:
    file = find_model() / TOKENIZER_FILE
    return token_reader(file, rust=True), token_reader(file, rust=False)


@needs_rust
@given(texts)
@settings(max_examples=500, deadline=None)
@example("x" * 101)
@example("ⅷ" * 101 + " " + "ß" * 100)
def test_words_and_counts(text: str) -> None:
    rust, twin = both()
    assert list(rust.words(text)) == list(twin.words(text))
    assert rust.count(text) == twin.count(text)


@needs_rust
@given(texts, st.sampled_from(["é", "x", "한", "a ", "[CLS]", ". ", "\n", "\u2028"]), st.integers(-5, 5), texts)
@settings(max_examples=60, deadline=None)
def test_at_the_edge_of_what_is_read_at_a_time(before: str, filler: str, shift: int, behind: str) -> None:
    rust, twin = both()
    text = before + filler * ((WINDOW + shift - len(before)) // len(filler)) + behind
    assert list(rust.words(text)) == list(twin.words(text))


@needs_rust
def test_what_a_character_becomes() -> None:
    rust, twin = both()
    codes = (code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    telling = (chr(code) for code in codes if code % 97 == 0 or is_telling(unicodedata.category(chr(code))))
    while some := list(islice(telling, 10_000)):
        text = " ".join(f"a{c}b {c}{c} Z{c}" for c in some)
        assert list(rust.words(text)) == list(twin.words(text))


def is_telling(category: str) -> bool:
    return category not in ("Cn", "Co", "Lo")


@needs_rust
@given(texts, st.integers(1, 40))
@settings(deadline=None)
def test_rulers_of_words(text: str, most: int) -> None:
    rust, twin = both()
    ours, theirs = WordRuler(text, rust.words(text), most), rulers.WordRuler(text, twin.words(text), most)
    places = range(len(text) + 1)
    assert [ours.size(0, place) for place in places] == [theirs.size(0, place) for place in places]
    assert [ours.may_cut(place) for place in places] == [theirs.may_cut(place) for place in places]


@needs_rust
@pytest.mark.parametrize("letter", ["x", "é", "한", "."])
def test_megabytes_without_a_blank(letter: str) -> None:
    rust, twin = both()
    text = letter * (10_000_000 if letter == "x" else 1_000_000)
    assert list(rust.words(text)) == list(twin.words(text))


def test_a_tokenizer_of_another_kind_is_left_to_its_library(tmp_path: Path) -> None:
    file = json.loads((find_model() / TOKENIZER_FILE).read_text())
    file["normalizer"]["lowercase"] = False
    cased = tmp_path / "tokenizer.json"
    cased.write_text(json.dumps(file))
    rust, twin = token_reader(cased, rust=CHOICE.rust), token_reader(cased, rust=False)
    assert rust.count("Go UNAFFABLE") == twin.count("Go UNAFFABLE")
    assert list(rust.words("Go UNAFFABLE")) == list(twin.words("Go UNAFFABLE"))
    assert rust.count("UNAFFABLE") != token_reader(find_model() / TOKENIZER_FILE, rust=False).count("UNAFFABLE")


def test_a_text_of_any_length_is_counted_exactly() -> None:
    words = token_reader(find_model() / TOKENIZER_FILE)
    text = "unaffable retrieval\n" * 2000
    assert words.count(text) == words.count("unaffable retrieval") * 2000
    assert sum(tokens for _, _, tokens in words.words(text)) == words.count(text)
