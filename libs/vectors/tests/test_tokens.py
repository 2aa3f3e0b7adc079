"""Tokens are those that MiniLM reads, for any text, and no chunk has more of them than its size."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from astromesh_native.rulers import WordRuler
from astromesh_native.twins.wordpiece import WordPiece
from astromesh_vectors.chunking import Chunking, Strategy, chunk, ruler_of
from astromesh_vectors.minilm.tokens import MiniLMWords
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model

WORDS = MiniLMWords()

texts = st.text(st.sampled_from("abgz é\u0301한ß東🚀.,-_\n\r\0\u200d\u05d0İ"), max_size=120) | st.lists(
    st.sampled_from(["unaffable", "Astromesh", "retrieval", "x" * 130, "한국어", "\u05d0\u05d1", ".", "\r\n", "\t"]),
    max_size=40,
).map(" ".join)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    found = Tokenizer.from_file(str(find_model() / TOKENIZER_FILE))
    found.no_truncation()
    found.no_padding()
    # Loaded here, or the first text would be found slow.
    WORDS.count("")
    return found


def count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


@given(texts)
def test_the_words_have_all_tokens_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    assert sum(number for _, _, number in WORDS.words(text)) == count(tokenizer, text)


@given(texts, st.integers(4, 40), st.sampled_from(["recursive", "fixed", "sentence"]))
@example("한" * 50, 4, "fixed")
@example("unaffable" * 9, 4, "recursive")
def test_no_chunk_has_more_tokens_than_its_size(tokenizer: Tokenizer, text: str, size: int, strategy: Strategy) -> None:
    chunking = Chunking(size, size // 3, strategy=strategy, unit="tokens")
    for piece in chunk(text, chunking, ruler=ruler_of(text, chunking, WORDS)):
        assert piece.text == text[piece.start : piece.end]
        assert count(tokenizer, piece.text) <= size


@given(texts, st.integers(3, 30))
def test_what_is_read_at_a_time_makes_no_chunk_longer(tokenizer: Tokenizer, text: str, window: int) -> None:
    words = WordPiece(find_model() / TOKENIZER_FILE, window).words(text)
    ruler = WordRuler(text, words, 6)
    assert all(count(tokenizer, piece.text) <= 6 for piece in chunk(text, Chunking(6, 2, unit="tokens"), ruler=ruler))


@given(texts)
def test_the_count_is_the_tokenizers(tokenizer: Tokenizer, text: str) -> None:
    assert WORDS.count(text) == count(tokenizer, text)


def test_a_long_text_with_blanks_is_counted_exactly(tokenizer: Tokenizer) -> None:
    text = "unaffable retrieval\n" * 2000
    assert sum(number for _, _, number in WORDS.words(text)) == count(tokenizer, text)


def test_chunks_of_prose_are_filled_to_their_size(tokenizer: Tokenizer) -> None:
    text = "The runtime appends every event to a log before it acts, and replays the log after a crash. " * 40
    chunking = Chunking(50, 10, strategy="fixed", unit="tokens")
    sizes = [count(tokenizer, piece.text) for piece in chunk(text, chunking, ruler=ruler_of(text, chunking, WORDS))]
    assert set(sizes[:-1]) <= {48, 49, 50}


@pytest.mark.parametrize("part", ["x", "é", "word ", "\0"])
def test_a_long_text_on_one_line_is_read_in_linear_time(part: str) -> None:
    text = part * (200_000 // len(part))
    chunking = Chunking(200, 20, unit="tokens")
    assert len(chunk(text, chunking, ruler=ruler_of(text, chunking, WORDS))) > 100
