"""The words of a text and their tokens as MiniLM reads them. The model itself is not loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model
from astromesh_vectors.rulers import Word, most_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WINDOW = 1 << 14
"""Characters read at a time: the tokenizer keeps some 150 bytes for each token of a call."""

_BLANKS = (" ", "\n")
"""White space to Python and to the tokenizer alike."""


class MiniLMWords:
    """Implements `Words`. The tokenizer is loaded by the first call; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None

    def words(self, text: str) -> Iterator[Word]:
        """The words of `text`, in time that grows with its length alone, without the two tokens that frame an input.

        Raises NotSupported with the install command when the weights are missing.
        """
        tokenizer = self._loaded()
        for begin, past in _windows(text):
            encoding = tokenizer.encode(text[begin:past], add_special_tokens=False)
            numbered = zip(encoding.word_ids, encoding.offsets, strict=True)
            for _, tokens in groupby(numbered, key=lambda pair: pair[0]):
                places = [offsets for _, offsets in tokens]
                start, end = begin + places[0][0], begin + places[-1][1]
                torn = start == begin > 0 or end == past < len(text)
                # Of a word that a window's edge cut in two, no part says how many tokens the whole has.
                yield start, end, most_tokens(text[start:end]) if torn else len(places)

    def _loaded(self) -> Tokenizer:
        with self._lock:
            if self._tokenizer is None:
                from tokenizers import Tokenizer

                tokenizer = Tokenizer.from_file(str(find_model() / TOKENIZER_FILE))
                tokenizer.no_truncation()
                tokenizer.no_padding()
                self._tokenizer = tokenizer
        return self._tokenizer


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Consecutive spans, cut behind white space where there is any."""
    begin = 0
    while begin < len(text):
        past = begin + WINDOW
        if past < len(text):
            past = max(text.rfind(blank, begin, past) for blank in _BLANKS) + 1 or past
        past = min(past, len(text))
        yield begin, past
        begin = past
