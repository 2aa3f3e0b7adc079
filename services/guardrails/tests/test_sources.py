"""Tokens as the agent's model counts them, where its tokenizer is on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from astromesh_core.events.token_estimates import text_tokens
from astromesh_core.resources.candidates import ModelSpec
from astromesh_guardrails.sources import token_counter
from astromesh_native.wordpiece import token_reader
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model

TEXT = "Unbelievably, antidisestablishmentarianism is spelt in one word."


@pytest.mark.parametrize(("provider", "exact"), [("onnx", True), ("ollama", False)])
def test_tokens_are_those_of_the_models_tokenizer_where_it_is_here(tmp_path: Path, provider: str, exact: bool) -> None:
    (tmp_path / "small").mkdir()
    shutil.copy(find_model() / TOKENIZER_FILE, tmp_path / "small" / "tokenizer.json")
    model = ModelSpec.model_validate({"primary": {"provider": provider, "model": "small"}})
    by_tokenizer = token_reader(find_model() / TOKENIZER_FILE).count(TEXT)
    assert by_tokenizer != text_tokens(TEXT)
    assert token_counter(model, tmp_path)(TEXT) == (by_tokenizer if exact else text_tokens(TEXT))
