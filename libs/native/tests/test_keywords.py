"""Words of a list in a text: which count, that case makes none other, and that both implementations agree."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astromesh_native.choice import RUST
from astromesh_native.folding import fold, simple_folds
from astromesh_native.keywords import matcher

BUILT = pytest.mark.skipif(not RUST, reason="the extension is not built")
IMPLEMENTATIONS = [False, pytest.param(True, marks=BUILT)]


@pytest.mark.parametrize("rust", IMPLEMENTATIONS, ids=["python", "rust"])
@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["secret"], "Secret SECRET secrets top-secret, secret_key", ["Secret", "SECRET", "secret"]),
        (["internal_only"], "This is INTERNAL_ONLY.", ["INTERNAL_ONLY"]),
        (["new york", "new"], "New York is a new yorker's", ["New York", "new"]),
        (["straße", "ΣΊΣΥΦΟΣ"], "STRAßE, σίσυφος", ["STRAßE", "σίσυφος"]),
        (["ß"], "ẞ ss", ["ẞ"]),
        (["i"], "I İ ı", ["I"]),
        (["赌博"], "网上赌博网站", ["赌博"]),
        (["비밀"], "비밀을 지켜", ["비밀"]),
        (["café"], "Cafés, CAFÉ, cafe\u0301", ["CAFÉ"]),
        (["a", "b"], "e\u0301a a\u0301 b", ["b"]),
        (["c++", "$$"], "C++ and c++x cost $$$", ["C++", "c++", "$$"]),
        (["🙂 hi"], "so🙂 hi", ["🙂 hi"]),
        (["aa"], "aaaa aa", ["aa"]),
        (["a b", "b c"], "a b c", ["a b"]),
        ([], "anything", []),
    ],
)
def test_finds_exactly_this(rust: bool, words: list[str], text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in matcher(words, rust=rust).find(text)] == expected


@pytest.mark.parametrize("rust", IMPLEMENTATIONS, ids=["python", "rust"])
def test_an_empty_word_is_refused(rust: bool) -> None:
    with pytest.raises(ValueError, match="empty"):
        matcher(["a", ""], rust=rust)


def test_folding_keeps_every_place_and_is_done_at_once() -> None:
    every = "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)
    folded = fold(every)
    assert len(folded) == len(every)
    assert fold(folded) == folded
    assert all(chr(code).casefold() == chr(code) for code in range(0x1F000, sys.maxunicode + 1))
    assert simple_folds()[ord("K")] == ord("k")


words = st.text("abkKſsßΣσς _-é谢비🙂\u0301", min_size=1, max_size=4)


@BUILT
@given(st.lists(words, max_size=6), st.text("abAkKſsSßẞΣσς _-É谢비🙂\u0301\ud800\0\r\n", max_size=40))
@settings(max_examples=500)
def test_both_find_the_same(listed: Collection[str], text: str) -> None:
    assert matcher(listed, rust=True).find(text) == matcher(listed, rust=False).find(text)


@BUILT
@given(st.lists(st.text(min_size=1), max_size=6), st.text())
def test_both_find_the_same_in_any_text(listed: Collection[str], text: str) -> None:
    listed = [word for word in listed if word.isprintable()]
    text += "".join(listed)
    assert matcher(listed, rust=True).find(text) == matcher(listed, rust=False).find(text)


@BUILT
@pytest.mark.parametrize("text", ["a" * 10_000_000, "谢" * 500_000], ids=["latin", "han"])
def test_megabytes_without_a_separator(text: str) -> None:
    listed = ["a", "aa", "b", "谢谢吗"]
    assert matcher(listed, rust=True).find(text) == matcher(listed, rust=False).find(text) == []


@pytest.mark.parametrize("rust", IMPLEMENTATIONS, ids=["python", "rust"])
def test_ten_thousand_words_cost_no_more_than_one(rust: bool) -> None:
    many = matcher([f"word{number} of list" for number in range(10_000)], rust=rust)
    text = "word1234 of list, word12345 of list and word of none. " * 2_000
    begun = time.process_time()
    assert len(many.find(text)) == 2_000
    assert time.process_time() - begun < 5
