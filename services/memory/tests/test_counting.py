"""Tokens of messages: by the model's own tokenizer where that lies here, else about."""

from __future__ import annotations

import shutil
from pathlib import Path

from astromesh.v1.values_pb2 import Message
from astromesh_core.events.contents import text_content
from astromesh_core.events.token_estimates import MESSAGE_TOKENS, message_tokens
from astromesh_core.resources.agent import AgentSpec
from astromesh_memory.counting import counter_of
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model


def spec(provider: str) -> AgentSpec:
    return AgentSpec.model_validate(
        {"model": {"primary": {"provider": provider, "model": "tiny"}}, "prompts": {"system": "Answer."}}
    )


TEXT = "unaffable retrieval"


def test_the_tokens_of_a_model_on_this_machine_are_exact(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    shutil.copy(find_model() / TOKENIZER_FILE, tmp_path / "tiny" / TOKENIZER_FILE)
    counter = counter_of(spec("onnx"), tmp_path)
    assert counter.exact
    pieces = ["una", "##ffa", "##ble", "retrieval"]
    assert counter.tokens_of([Message(content=text_content(TEXT))]) == MESSAGE_TOKENS + len(pieces)
    # However long the text is: the file's own truncation is for the model's input.
    assert counter.tokens_of([Message(content=text_content(f"{TEXT} " * 500))]) == MESSAGE_TOKENS + 500 * len(pieces)


def test_the_tokens_of_a_vendors_model_are_estimated(tmp_path: Path) -> None:
    counter = counter_of(spec("ollama"), tmp_path)
    message = Message(content=text_content(TEXT))
    assert not counter.exact
    assert counter.tokens_of([message]) == message_tokens(message)
