"""Servers of models as resources declare them: where they are, what opens them, and which format they speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.embeddings import MINILM, EmbeddingsSpec
from astromesh_core.resources.secrets import SecretKeyRef, resolve
from astromesh_vectors.remote.embedder import RemoteEmbedder, RemoteModel
from astromesh_vectors.remote.formats import EmbeddingFormat, InferenceApi, Ollama, TextEmbeddingsInference
from astromesh_vectors.remote.server import Address, Server

OLLAMA: Final = "http://localhost:11434"
HUGGING_FACE: Final = "https://router.huggingface.co/hf-inference"
HUGGING_FACE_KEY: Final = "HF_TOKEN"
"""The variable whose key goes to `HUGGING_FACE`, and to no other address."""


async def open_remote(spec: EmbeddingsSpec, environ: Mapping[str, str]) -> RemoteEmbedder:
    """The embedder on a server. Where nobody said how long its vectors are, the server is asked; a caller closes it.

    Raises InvalidInput for a variable that is not set, and what the server answers where it is asked.
    """
    found = _address(spec, environ)
    server = Server(found)
    model = RemoteModel(server, format_of(spec, found.url))
    try:
        dimension = spec.dimension or spec.known_dimension or await model.dimension()
    except BaseException:
        await server.close()
        raise
    return RemoteEmbedder(_name(spec), dimension, model)


def address(label: str, endpoint: str, key: str | SecretKeyRef | None, environ: Mapping[str, str]) -> Address:
    """A server's address with its secrets resolved. `label` names its kind. Raises InvalidInput."""
    url = resolve(endpoint, environ).rstrip("/")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise InvalidInput(f"{label}: the endpoint holds a user name or a password; name the key in api_key")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{label}: the endpoint is no http address")
    value = resolve(key, environ) if key is not None else ""
    name = key if isinstance(key, str) else "api_key"
    if parts.query or parts.fragment:
        raise InvalidInput(f"{label}: the endpoint ends with its path; it takes no query")
    return Address(f"{label} at {url}", url, value, name)


def _address(spec: EmbeddingsSpec, environ: Mapping[str, str]) -> Address:
    key = spec.api_key
    if spec.provider == "ollama":
        return address("ollama", spec.endpoint or OLLAMA, key, environ)
    if spec.endpoint is None and key is None:
        if not environ.get(HUGGING_FACE_KEY):
            advice = f"set {HUGGING_FACE_KEY}, or the endpoint of a Text Embeddings Inference server"
            raise InvalidInput(f"huggingface: the Inference API needs a key; {advice}")
        key = f"${{{HUGGING_FACE_KEY}}}"
    return address("huggingface", spec.endpoint or HUGGING_FACE, key, environ)


def format_of(spec: EmbeddingsSpec, url: str) -> EmbeddingFormat:
    """How the server at a URL is spoken to."""
    if spec.provider == "ollama":
        return Ollama(spec.model, _shortened(spec))
    if spec.endpoint is None or f".{urlsplit(url).hostname}".endswith(".huggingface.co"):
        return InferenceApi(f"sentence-transformers/{MINILM}" if spec.model == MINILM else spec.model)
    return TextEmbeddingsInference()


def _shortened(spec: EmbeddingsSpec) -> int | None:
    return spec.dimension if spec.known_dimension is None else None


def _name(spec: EmbeddingsSpec) -> str:
    """Vectors of one name and length may be compared: a server's address is no part of it."""
    return f"{spec.provider}:{spec.model}"
