"""The count of tokens stands beside a real tokenizer's, on what agents read: prose, code, JSON, YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest
from tokenizers import Tokenizer

from astromesh.v1.values_pb2 import Image
from astromesh_core.events.token_estimates import MESSAGE_TOKENS, PICTURE_TOKENS, text_tokens
from astromesh_router.needs import needs_of
from astromesh_router.tokens import prompt_tokens
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model

from .asking import SEARCH, asking, called, user

ROOT = Path(__file__).resolve().parents[3]
PIECE = 2_000
PROSE, CODE, DATA = (
    ["docs/adr/*.md", "config/knowledge/*.md", "*.md"],
    ["services/router/src/**/*.py"],
    ["tests/histories/**/*.json", "proto/**/*.proto", "config/**/*.yaml", "bench/**/*.json"],
)


def pieces(patterns: list[str]) -> Iterator[str]:
    """The texts in pieces; what is left at an end is too short to be measured by."""
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")[: 20 * PIECE]
            yield from (text[at : at + PIECE] for at in range(0, len(text) - PIECE // 4, PIECE))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    loaded = Tokenizer.from_file(str(find_model() / TOKENIZER_FILE))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


@pytest.mark.parametrize("patterns", [PROSE, CODE, DATA], ids=["prose", "code", "data"])
def test_the_count_errs_by_a_few_percent(tokenizer: Tokenizer, patterns: list[str]) -> None:
    texts = list(pieces(patterns))
    assert len(texts) >= 20
    real = [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    errors = sorted(abs(text_tokens(text) - tokens) / tokens for text, tokens in zip(texts, real, strict=True))
    by_length = mean(abs(len(text) / 4 - tokens) / tokens for text, tokens in zip(texts, real, strict=True))
    assert mean(errors) < 0.05 < by_length
    assert errors[int(0.95 * len(errors))] < 0.15


@pytest.mark.parametrize("text", ["渡轮每小时从皮翁比诺出发。", "フェリーは毎時出発します。"])
def test_a_character_of_chinese_or_japanese_is_a_token(tokenizer: Tokenizer, text: str) -> None:
    assert text_tokens(text) == pytest.approx(len(tokenizer.encode(text, add_special_tokens=False).ids), rel=0.05)


def test_nothing_is_no_token_and_half_a_surrogate_is_no_error() -> None:
    assert text_tokens("") == text_tokens(" \n\t") == 0
    assert text_tokens("a") == 1
    assert text_tokens("\ud83d") == 2


def test_everything_that_the_model_reads_is_counted() -> None:
    request = asking(user("hello there"))
    plain = prompt_tokens(request)
    assert plain == MESSAGE_TOKENS + text_tokens("hello there")
    request.messages[0].images.append(Image())
    assert prompt_tokens(request) == plain + PICTURE_TOKENS
    with_tools = asking(user("hello there"), called("search_docs", '{"query":"x"}', "c1"), tools=[SEARCH])
    offered = text_tokens(SEARCH.name) + text_tokens(SEARCH.description) + text_tokens(SEARCH.parameters_json)
    asked = MESSAGE_TOKENS + text_tokens("search_docs") + text_tokens('{"query":"x"}')
    assert prompt_tokens(with_tools) == plain + offered + asked
    with_tools.output_schema_json = '{"type":"object"}'
    assert prompt_tokens(with_tools) == plain + offered + asked + text_tokens('{"type":"object"}')


def test_needs_are_read_off_the_request() -> None:
    request = asking(user("hello"))
    assert needs_of(request).input_tokens == prompt_tokens(request)
    before = needs_of(request)
    assert (before.tools, before.vision, before.structured_output) == (False, False, False)
    request.tools.append(SEARCH)
    request.messages[0].images.append(Image())
    request.output_schema_json = "{}"
    needs = needs_of(request)
    assert (needs.tools, needs.vision, needs.structured_output) == (True, True, True)
    assert needs.max_output_tokens == 0
