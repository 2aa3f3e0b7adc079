"""Writes a tiny ONNX GenAI model with random weights into a folder: the graph of a decoder of two layers with attention
over a cache, its configuration and its tokenizer. `make test-models` asks it through the `onnx` provider.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper
from tiny_vocabulary import MARKS, PIECES, RUT, TEMPLATE, letters, number, tokens

HEAD_SIZE, LAYERS, CONTEXT = 16, 2, 512
CERTAIN = 1e4
"""Beside what the random weights say of a token, this is everything."""

VOCABULARY = len(tokens())


class Graph:
    """A decoder in the making, so many heads wide. `chance` draws its weights."""

    def __init__(self, heads: int, chance: np.random.Generator) -> None:
        self._heads = heads
        self._hidden = heads * HEAD_SIZE
        self._chance = chance
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []

    def model(self) -> onnx.ModelProto:
        """The whole model."""
        self._lengths()
        stream = self._node("Gather", self._random("embedding", VOCABULARY, self._hidden), "input_ids")
        for layer in range(LAYERS):
            stream = self._attention(layer, stream)
            stream = self._feed_forward(layer, stream)
        said = self._node("MatMul", self._normal("last", stream), self._random("head", self._hidden, VOCABULARY))
        led = self._node("Gather", self._weight("rut", rut()), "input_ids")
        self._add(helper.make_node("Add", [said, led], ["logits"]), {})
        return self._whole()

    def _lengths(self) -> None:
        """What the attention wants to know of the lengths, from the mask; and its rotations."""
        one = self._weight("one", np.array([1], np.int64))
        summed = self._node("ReduceSum", "attention_mask", one, keepdims=0)
        last = self._node("Sub", summed, one)
        self._add(helper.make_node("Cast", [last], ["last_places"]), {"to": TensorProto.INT32})
        second = self._weight("second", np.array(1, np.int64))
        width = self._node("Gather", self._node("Shape", "attention_mask"), second)
        self._add(helper.make_node("Cast", [width], ["length"]), {"to": TensorProto.INT32})
        half = HEAD_SIZE // 2
        angles = np.outer(np.arange(CONTEXT), 1e4 ** (-np.arange(half) / half))
        self._weight("cosines", np.cos(angles).astype(np.float32))
        self._weight("sines", np.sin(angles).astype(np.float32))

    def _attention(self, layer: int, stream: str) -> str:
        normal = self._normal(f"before_attention.{layer}", stream)
        projected = [self._projected(f"{part}.{layer}", normal, 1, 1) for part in ("query", "key", "value")]
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        present = [f"present.{layer}.key", f"present.{layer}.value"]
        inputs = [*projected, *past, "last_places", "length", "cosines", "sines"]
        node = helper.make_node("GroupQueryAttention", inputs, [f"attended.{layer}", *present], domain="com.microsoft")
        self._add(node, {"num_heads": self._heads, "kv_num_heads": self._heads, "do_rotary": 1})
        return self._node("Add", stream, self._projected(f"out.{layer}", f"attended.{layer}", 1, 1))

    def _feed_forward(self, layer: int, stream: str) -> str:
        normal = self._normal(f"before_forward.{layer}", stream)
        wide = self._node("Relu", self._projected(f"up.{layer}", normal, 1, 4))
        return self._node("Add", stream, self._projected(f"down.{layer}", wide, 4, 1))

    def _projected(self, name: str, stream: str, wide: int, to: int) -> str:
        """From so many times the stream's width to so many."""
        return self._node("MatMul", stream, self._random(name, wide * self._hidden, to * self._hidden))

    def _normal(self, name: str, stream: str) -> str:
        scale = self._weight(name, np.ones(self._hidden, np.float32))
        return self._node("LayerNormalization", stream, scale, axis=-1)

    def _random(self, name: str, *shape: int) -> str:
        return self._weight(name, self._chance.standard_normal(shape, np.float32))

    def _weight(self, name: str, value: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        self._weights.append(numpy_helper.from_array(value, name))
        return name

    def _node(self, kind: str, *inputs: str, **attributes: int) -> str:
        output = f"{kind}.{len(self._nodes)}"
        self._add(helper.make_node(kind, inputs, [output]), attributes)
        return output

    def _add(self, node: onnx.NodeProto, attributes: Mapping[str, int]) -> None:
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self._nodes.append(node)

    def _whole(self) -> onnx.ModelProto:
        cached = [f"{layer}.{part}" for layer in range(LAYERS) for part in ("key", "value")]
        inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "new"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "all"]),
            *(floats(f"past_key_values.{name}", "batch", self._heads, "past", HEAD_SIZE) for name in cached),
        ]
        outputs = [
            floats("logits", "batch", "new", VOCABULARY),
            *(floats(f"present.{name}", "batch", self._heads, "all", HEAD_SIZE) for name in cached),
        ]
        graph = helper.make_graph(self._nodes, "tiny", inputs, outputs, self._weights)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def rut() -> npt.NDArray[np.float32]:
    """What each token adds to the chance of each next one."""
    leads = np.zeros((VOCABULARY, VOCABULARY), np.float32)
    for token, following in pairwise(RUT):
        leads[number(token), number(following)] = CERTAIN
    return leads


def floats(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def tokenizer() -> dict[str, object]:
    """The file that `tokenizers` reads: byte-level BPE without merges."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": number(token), "content": token, **flags, "special": token in MARKS} for token in (*MARKS, *PIECES)]
    vocabulary = {letter: byte for byte, letter in enumerate(letters())}
    return {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }


TOKENIZER = {
    "tokenizer_class": "Qwen2Tokenizer",
    "bos_token": None,
    "eos_token": "<|im_end|>",
    "pad_token": "<|endoftext|>",
    "add_prefix_space": False,
    "clean_up_tokenization_spaces": False,
    "chat_template": TEMPLATE,
}


def configuration(heads: int) -> dict[str, object]:
    """What genai reads. Source: ONNX Runtime, "Generate API", configuration reference."""
    session: dict[str, object] = {"log_id": "tiny", "provider_options": [], "intra_op_num_threads": 1}
    decoder: dict[str, object] = {
        "session_options": session,
        "filename": "model.onnx",
        "head_size": HEAD_SIZE,
        "hidden_size": heads * HEAD_SIZE,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": heads,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": heads,
    }
    model: dict[str, object] = {
        "bos_token_id": number("<|endoftext|>"),
        "eos_token_id": [number("<|im_end|>"), number("<|endoftext|>")],
        "pad_token_id": number("<|endoftext|>"),
        "context_length": CONTEXT,
        "decoder": decoder,
        "type": "llama",
        "vocab_size": VOCABULARY,
    }
    search: dict[str, object] = {
        "do_sample": True,
        "max_length": CONTEXT,
        "temperature": 0.7,
        "past_present_share_buffer": True,
    }
    return {"model": model, "search": search}


def write(folder: Path, heads: int) -> None:
    """Writes a model of so many heads, the same on every machine."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "tokenizer.json": orjson.dumps(tokenizer()),
        "tokenizer_config.json": orjson.dumps(TOKENIZER),
        "model.onnx": Graph(heads, np.random.default_rng(7)).model().SerializeToString(),
        "genai_config.json": orjson.dumps(configuration(heads), option=orjson.OPT_INDENT_2),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
