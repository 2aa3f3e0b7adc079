"""Writes a tiny GGUF model with random weights: a llama of two layers, its tokenizer and its chat template.
`make test-models` serves it with llama.cpp.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
from tiny_vocabulary import MARKS, PIECES, TEMPLATE, number, tokens

WIDTH, HEADS, LAYERS, WIDE, CONTEXT = 64, 2, 2, 128, 1024
SEED = 7
BEYOND_ASCII = range(0x80, 0x100)
"""Bytes that never are the likeliest: text that is no UTF-8 keeps llama-cpp-python busy without end."""


def write(file: Path) -> None:
    """Writes the model, the same on every machine."""
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(file, "llama")
    _describe(writer)
    _tokenize(writer)
    _weigh(writer, np.random.default_rng(SEED))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens()))


def _tokenize(writer: gguf.GGUFWriter) -> None:
    kinds = {**dict.fromkeys(MARKS, gguf.TokenType.CONTROL), **dict.fromkeys(PIECES, gguf.TokenType.USER_DEFINED)}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens())
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens()])
    writer.add_token_merges(["Z Z"])  # llama.cpp wants a list that is not empty; this one leads to no token
    writer.add_bos_token_id(number("<|endoftext|>"))
    writer.add_eos_token_id(number("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _weigh(writer: gguf.GGUFWriter, chance: np.random.Generator) -> None:
    def random(name: str, *shape: int, quiet: Sequence[int] = ()) -> None:
        weights = chance.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
        weights[list(quiet)] = 0
        writer.add_tensor(f"{name}.weight", weights)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    random("token_embd", len(tokens()), WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            random(f"{block}.{part}", WIDTH, WIDTH)
        ones(f"{block}.ffn_norm")
        random(f"{block}.ffn_gate", WIDE, WIDTH)
        random(f"{block}.ffn_up", WIDE, WIDTH)
        random(f"{block}.ffn_down", WIDTH, WIDE)
    ones("output_norm")
    random("output", len(tokens()), WIDTH, quiet=BEYOND_ASCII)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
