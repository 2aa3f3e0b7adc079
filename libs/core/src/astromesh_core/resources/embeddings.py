"""Which model turns text into vectors. Loading it is the vector library's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from astromesh_core.resources.secrets import Secret
from astromesh_core.resources.spelling import Spec, spelled
from astromesh_core.resources.urls import HttpUrl

MINILM = "all-MiniLM-L6-v2"

KNOWN_DIMENSIONS: dict[str, int] = {
    MINILM: 384,
    "BAAI/bge-small-en-v1.5": 384,
    "nomic-embed-text": 768,
}
"""How long the vectors of well-known models are."""

_PROVIDERS = {
    "sentence-transformers": "sentence_transformers",
    "sentence_transformer": "sentence_transformers",
    "sentence-transformer": "sentence_transformers",
    "hf": "huggingface",
    "huggingface-api": "huggingface",
    "huggingface_api": "huggingface",
}
_MODELS = {f"sentence-transformers/{MINILM}": MINILM, MINILM.lower(): MINILM}


def _provider(value: object) -> object:
    return _PROVIDERS.get(value, value) if isinstance(value, str) else value


def _model(value: object) -> object:
    return _MODELS.get(value, value) if isinstance(value, str) else value


class EmbeddingsSpec(Spec):
    """An embedding model; unless told otherwise MiniLM, which is built in under `onnx` and `sentence_transformers`."""

    provider: Annotated[
        Literal["onnx", "sentence_transformers", "huggingface", "ollama"], BeforeValidator(_provider)
    ] = "sentence_transformers"
    model: Annotated[str, BeforeValidator(_model)] = MINILM
    dimension: int | None = Field(default=None, gt=0, validation_alias=spelled("dimension", "dimensions"))
    endpoint: HttpUrl | None = None
    api_key: Secret | None = None

    @property
    def is_built_in(self) -> bool:
        """Whether the ONNX model that ships with Astromesh serves it."""
        return self.provider in ("onnx", "sentence_transformers") and self.model == MINILM

    @property
    def known_dimension(self) -> int | None:
        """The length of the model's vectors, where it is a well-known one."""
        return KNOWN_DIMENSIONS.get(self.model)
