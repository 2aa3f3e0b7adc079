"""The words of a text and their tokens, as a tokenizer of the `tokenizers` library reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from astromesh_native.twins.rulers import Word, most_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WINDOW: Final = 1 << 14
"""Characters read at a time: the tokenizer keeps some 150 bytes for each token of a call."""

_BLANKS = (" ", "\n")
"""White space to Python and to the tokenizer alike."""


class WordPiece:
    """Reads texts with the tokenizer of a file, which the first call loads. Threads may share it."""

    by = "python"

    def __init__(self, file: Path, window: int = WINDOW) -> None:
        self._file = file
        self._window = window
        self._lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None

    def count(self, text: str) -> int:
        """How many tokens the text is, without those that frame an input. Exact, whatever the text's length."""
        return len(self._loaded().encode(text, add_special_tokens=False).ids)

    def words(self, text: str) -> Iterator[Word]:
        """The words of the text in order with their tokens, in time that grows with its length alone.

        A text is read in windows that end behind a blank. Where a window has none, a word at its edge may be cut in
        two: no part says how many tokens the whole has, and each counts as most as it could.
        """
        tokenizer = self._loaded()
        torn_before = False
        for begin, past, torn in self._windows(text):
            encoding = tokenizer.encode(text[begin:past], add_special_tokens=False)
            numbered = zip(encoding.word_ids, encoding.offsets, strict=True)
            for _, tokens in groupby(numbered, key=lambda pair: pair[0]):
                places = [offsets for _, offsets in tokens]
                start, end = begin + places[0][0], begin + places[-1][1]
                partial = (torn_before and start == begin) or (torn and end == past)
                yield start, end, most_tokens(text[start:end]) if partial else len(places)
            torn_before = torn

    def _windows(self, text: str) -> Iterator[tuple[int, int, bool]]:
        """Consecutive spans, and whether the end of each may be in a word."""
        begin = 0
        while begin < len(text):
            past = begin + self._window
            torn = past < len(text)
            if torn:
                blank = max(text.rfind(blank, begin, past) for blank in _BLANKS)
                past, torn = (past, True) if blank < 0 else (blank + 1, False)
            past = min(past, len(text))
            yield begin, past, torn
            begin = past

    def _loaded(self) -> Tokenizer:
        with self._lock:
            if self._tokenizer is None:
                from tokenizers import Tokenizer

                tokenizer = Tokenizer.from_file(str(self._file))
                tokenizer.no_truncation()
                tokenizer.no_padding()
                self._tokenizer = tokenizer
        return self._tokenizer
