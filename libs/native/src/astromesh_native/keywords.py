"""Finds words and phrases of a list, however long it is: Rust where it is built, else the twin."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from astromesh_native.choice import RUST
from astromesh_native.folding import simple_folds
from astromesh_native.scan_tables import NO_LETTERS, UNSPACED
from astromesh_native.twins.keywords import KeywordMatcher as Twin

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class Matcher(Protocol):
    """Finds the words that it was made for. Holds no state between two texts; any thread may call it."""

    def find(self, text: str) -> Sequence[tuple[int, int]]:
        """First character and the one behind the last of each word found, in order of place, none within another.

        Case makes no difference (simple folding). A word is found whole: no letter, digit or `_` continues it on either
        side, save in scripts that put no space between words. Of several that begin at one place the longest counts.
        """
        ...


def matcher(words: Collection[str], *, rust: bool = RUST) -> Matcher:
    """A matcher for these words, which takes a moment to make: callers keep it. Raises ValueError for an empty word."""
    if not all(words):
        raise ValueError("a word to look for is empty")
    return _Rust(words) if rust else Twin(words)


class _Rust:
    def __init__(self, words: Collection[str]) -> None:
        from astromesh_native_rust import KeywordMatcher

        self._matcher = KeywordMatcher(list(words), simple_folds(), NO_LETTERS, UNSPACED)

    def find(self, text: str) -> list[tuple[int, int]]:
        try:
            return self._matcher.find(text)
        except UnicodeEncodeError:
            return self._matcher.find(_SURROGATES.sub("\ufffd", text))
