"""A tokenizer's words and token counts: Rust for BERT's kind where it is built, else the `tokenizers` library."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypedDict, cast

from astromesh_native.choice import RUST
from astromesh_native.twins.rulers import Word
from astromesh_native.twins.wordpiece import WordPiece

if TYPE_CHECKING:
    from astromesh_native_rust import WordPiece as Rust

_NORMALIZER: Final = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
_SPECIAL = re.compile(r"\[[!-Z^-~]+\]")


class TokenReader(Protocol):
    """Reads texts as a model does. Threads may share it."""

    @property
    def by(self) -> str:
        """Who reads, as traces call it: `rust`, or `python`, which is the `tokenizers` library."""
        ...

    def count(self, text: str) -> int:
        """How many tokens the text is, without those that frame an input."""
        ...

    def words(self, text: str) -> Iterable[Word]:
        """The words of the text in order, each with its tokens."""
        ...


class _Model(TypedDict):
    type: str
    continuing_subword_prefix: str
    max_input_chars_per_word: int
    vocab: dict[str, int]


class _Added(TypedDict):
    content: str
    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool


class _File(TypedDict):
    normalizer: dict[str, object]
    pre_tokenizer: dict[str, object]
    model: _Model
    added_tokens: list[_Added]


def token_reader(file: Path, *, rust: bool = RUST) -> TokenReader:
    """What reads as the tokenizer in a `tokenizer.json` does. The file is read by the first call."""
    return _Reader(file) if rust else WordPiece(file)


class _Reader:
    """Rust where the file is of BERT's uncased kind, else the library."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def by(self) -> str:
        return "python" if isinstance(self._chosen, WordPiece) else "rust"

    def count(self, text: str) -> int:
        return self._chosen.count(text)

    def words(self, text: str) -> Iterable[Word]:
        return self._chosen.words(text)

    @cached_property
    def _chosen(self) -> WordPiece | Rust:
        import json

        read = cast("_File", json.loads(self._file.read_text(encoding="utf-8")))
        library = WordPiece(self._file)
        if not _is_bert(read):
            return library
        from astromesh_native_rust import WordPiece as Rust

        specials = [token["content"] for token in read["added_tokens"]]
        # The library is asked, and loaded, only for texts with marks that it puts in another order.
        return Rust(list(read["model"]["vocab"]), specials, library)


def _is_bert(file: _File) -> bool:
    """Whether the file asks for just what the Rust side does: BERT's uncased normalizer and longest pieces first."""
    model = file["model"]
    return (
        file["normalizer"] == _NORMALIZER
        and file["pre_tokenizer"] == {"type": "BertPreTokenizer"}
        and model["type"] == "WordPiece"
        and (model["continuing_subword_prefix"], model["max_input_chars_per_word"]) == ("##", 100)
        and all(_is_plain(token) for token in file["added_tokens"])
    )


def _is_plain(token: _Added) -> bool:
    """A special token that is found in the text as it stands, and cannot be mistaken for another."""
    shaped = any(token[flag] for flag in ("single_word", "lstrip", "rstrip", "normalized"))
    return not shaped and _SPECIAL.fullmatch(token["content"]) is not None
