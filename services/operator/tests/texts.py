"""YAML of a small mesh, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

PROVIDERS = """\
apiVersion: astromesh/v1
kind: ProviderConfig
metadata: {name: providers}
spec:
  providers:
    offline: {type: extractive}
"""

RUNTIME = """\
apiVersion: astromesh/v1
kind: RuntimeConfig
metadata: {name: mesh}
spec:
  defaults: {orchestration: {max_iterations: 3}}
"""

PIPELINE = """\
apiVersion: astromesh/v1
kind: RAGPipeline
metadata: {name: docs}
spec:
  embeddings: {provider: onnx, model: all-MiniLM-L6-v2}
  vector_store: {backend: faiss}
  ingestion: {sources: [{type: directory, path: knowledge}]}
"""


def agent(name: str = "desk", *, provider: str = "offline", extra: str = "") -> str:
    """An agent on one provider."""
    return f"""\
apiVersion: astromesh/v1
kind: Agent
metadata: {{name: {name}}}
spec:
  model:
    primary: {{providerRef: {provider}}}
{extra}"""


def write(folder: Path, files: dict[str, str]) -> Path:
    """Writes the files below the folder and answers it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
