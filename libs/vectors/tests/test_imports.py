"""Importing the package costs nothing: the heavy libraries come with the first use."""

from __future__ import annotations

import subprocess
import sys

MODULES = [
    "ports",
    "minilm.embedder",
    "minilm.cache",
    "faiss_store.store",
    "faiss_store.keywords",
    "chunking",
    "semantic",
    "minilm.tokens",
    "ranking",
    "sentences",
    "nearest",
    "worker",
    "rerankers.opening",
    "embedders.onnx_model",
    "embedders.opening",
    "own_classes",
    "onnx_folder",
    "opening",
    "own_store",
    "point_store.store",
    "faiss_store.sidecar",
]
HEAVY = {
    "chromadb",
    "faiss",
    "httpx",
    "numpy",
    "onnx",
    "onnxruntime",
    "psycopg",
    "qdrant_client",
    "tokenizers",
    "torch",
}


def test_no_heavy_library_is_loaded_by_import() -> None:
    program = "".join(f"import astromesh_vectors.{module}\n" for module in MODULES) + "import sys; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(answer.stdout.split())
