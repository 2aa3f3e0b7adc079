"""A tiny BERT cross-encoder of random weights, as a folder that ONNX Runtime can load, and the same sum in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

    Weights = dict[str, NDArray[np.float32]]

SENTENCES: Final = "owls hunt mice at night storks build nests the rhine is long an invoice due in may who what how ?"
SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
VOCABULARY: Final = {word: number for number, word in enumerate((*SPECIAL, *dict.fromkeys(SENTENCES.split())))}
HIDDEN: Final = 16
MASKED: Final = -1e9


def write(folder: Path, *, seed: int = 7, labels: int = 1) -> Path:
    """Writes graph, tokenizer and configuration into the folder, and gives it back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph(weights(seed, labels)).SerializeToString())
    (folder / "tokenizer.json").write_bytes(orjson.dumps(tokenizer()))
    (folder / "config.json").write_text('{"max_position_embeddings": 64}')
    return folder


def weights(seed: int = 7, labels: int = 1) -> Weights:
    """The same for the same seed."""
    import numpy as np

    random = np.random.default_rng(seed)
    shapes = {
        "words": (len(VOCABULARY), HIDDEN),
        "types": (2, HIDDEN),
        "query": (HIDDEN, HIDDEN),
        "key": (HIDDEN, HIDDEN),
        "value": (HIDDEN, HIDDEN),
        "head": (HIDDEN, labels),
        "bias": (labels,),
    }
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write_encoder(folder: Path, *, seed: int = 7) -> Path:
    """Writes the model without its head, as embedding models are exported: it answers a state a token."""
    write(folder, seed=seed)
    (folder / "model.onnx").write_bytes(graph(weights(seed), "normal").SerializeToString())
    return folder


def scored(question: str, text: str, *, seed: int = 7) -> float:
    """What the model of one label answers, before the sigmoid, computed without ONNX Runtime."""
    known = weights(seed)
    return float((states(question, text, seed=seed)[0] @ known["head"] + known["bias"])[0])


def states(text: str, second: str | None = None, *, seed: int = 7) -> NDArray[np.float32]:
    """The state of each token of a text or a pair, `(tokens, 16)`, computed without ONNX Runtime."""
    import numpy as np

    known = weights(seed)
    ids = [VOCABULARY["[CLS]"], *_ids(text), VOCABULARY["[SEP]"]]
    after = [] if second is None else [*_ids(second), VOCABULARY["[SEP]"]]
    given = known["words"][ids + after] + known["types"][[0] * len(ids) + [1] * len(after)]
    attention = given @ known["query"] @ (given @ known["key"]).T / HIDDEN**0.5
    shares = np.exp(attention - attention.max(axis=1, keepdims=True))
    mixed = given + shares / shares.sum(axis=1, keepdims=True) @ (given @ known["value"])
    return (mixed - mixed.mean(axis=1, keepdims=True)) / np.sqrt(mixed.var(axis=1, keepdims=True) + 1e-5)


def graph(known: Weights, output: str = "logits") -> ModelProto:
    """One layer of attention with a residual, its first token through a linear head. `normal` are the states before."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        **known,
        "scale": np.array(HIDDEN**-0.5, dtype=np.float32),
        "one": np.array(1.0, dtype=np.float32),
        "masked": np.array(MASKED, dtype=np.float32),
        "axis": np.array([1], dtype=np.int64),
        "first": np.array(0, dtype=np.int64),
        "ones": np.ones(HIDDEN, dtype=np.float32),
        "zeros": np.zeros(HIDDEN, dtype=np.float32),
    }
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", ["words", "input_ids"], "word", {}),
        ("Gather", ["types", "token_type_ids"], "type", {}),
        ("Add", ["word", "type"], "states", {}),
        ("MatMul", ["states", "query"], "q", {}),
        ("MatMul", ["states", "key"], "k", {}),
        ("MatMul", ["states", "value"], "v", {}),
        ("Transpose", ["k"], "kt", {"perm": [0, 2, 1]}),
        ("MatMul", ["q", "kt"], "raw", {}),
        ("Mul", ["raw", "scale"], "scaled", {}),
        ("Cast", ["attention_mask"], "mask", {"to": TensorProto.FLOAT}),
        ("Sub", ["one", "mask"], "padding", {}),
        ("Mul", ["padding", "masked"], "penalty", {}),
        ("Unsqueeze", ["penalty", "axis"], "penalties", {}),
        ("Add", ["scaled", "penalties"], "attention", {}),
        ("Softmax", ["attention"], "shares", {"axis": -1}),
        ("MatMul", ["shares", "v"], "seen", {}),
        ("Add", ["states", "seen"], "mixed", {}),
        ("LayerNormalization", ["mixed", "ones", "zeros"], "normal", {"axis": -1, "epsilon": 1e-5}),
        ("Gather", ["normal", "first"], "head_in", {"axis": 1}),
        ("MatMul", ["head_in", "head"], "unbiased", {}),
        ("Add", ["unbiased", "bias"], "logits", {}),
    ]
    shape: list[str | int] = ["pairs", "length"]
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    shapes = {"logits": ["pairs", len(known["bias"])], "normal": [*shape, HIDDEN]}
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, given, [made], **attributes) for kind, given, made, attributes in steps],
            "tiny-cross-encoder",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shapes[output])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def tokenizer() -> dict[str, object]:
    """Words in lower case; a pair is framed as BERT has it."""

    def token(name: str, kind: int) -> dict[str, object]:
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def part(name: str, kind: int) -> dict[str, object]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [token("[CLS]", 0), part("A", 0), token("[SEP]", 0)]
    framed = {name: {"id": name, "ids": [VOCABULARY[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, part("B", 1), token("[SEP]", 1)],
            "special_tokens": framed,
        },
        "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
    }


def _ids(text: str) -> list[int]:
    return [
        VOCABULARY.get(word, VOCABULARY["[UNK]"]) for word in text.lower().replace("?", " ?").replace(".", " .").split()
    ]
