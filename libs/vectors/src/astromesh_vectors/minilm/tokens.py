"""The words of a text and their tokens as MiniLM reads them. The model itself is not loaded."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from astromesh_native.rulers import Word
from astromesh_native.wordpiece import TokenReader, token_reader
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model


class MiniLMWords:
    """Implements `Words`. The tokenizer is loaded by the first call; threads may share it.

    Both methods raise NotSupported with the install command when the weights are missing.
    """

    def words(self, text: str) -> Iterable[Word]:
        """The words of `text`, in time that grows with its length alone, without the two tokens that frame an input."""
        return self._reader.words(text)

    def count(self, text: str) -> int:
        """How many tokens `text` is, without the two that frame an input."""
        return self._reader.count(text)

    @cached_property
    def _reader(self) -> TokenReader:
        return token_reader(find_model() / TOKENIZER_FILE)
