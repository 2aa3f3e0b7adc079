"""Which model turns text into vectors. Loading it is the vector library's."""

from __future__ import annotations

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.class_paths import class_path, is_class_path
from astromesh_core.resources.embedding_prefixes import NO_PREFIXES, Prefixes, prefixes_of
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.secrets import Secret
from astromesh_core.resources.spelling import Spec, is_mapping, spelled
from astromesh_core.resources.urls import HttpUrl

MINILM: Final = "all-MiniLM-L6-v2"

KNOWN_DIMENSIONS: dict[str, int] = {
    MINILM: 384,
    "BAAI/bge-small-en-v1.5": 384,
    "BAAI/bge-base-en-v1.5": 768,
    "BAAI/bge-large-en-v1.5": 1024,
    "BAAI/bge-m3": 1024,
    "all-minilm": 384,
    "mxbai-embed-large": 1024,
    "nomic-embed-text": 768,
    "sentence-transformers/all-mpnet-base-v2": 768,
}
"""How long the vectors of well-known models are."""

DEFAULT_MODELS: dict[str, str] = {
    "onnx": MINILM,
    "sentence_transformers": MINILM,
    "huggingface": "BAAI/bge-small-en-v1.5",
    "ollama": "nomic-embed-text",
}
"""Every built-in provider, with the model that it serves unless told otherwise."""

IN_PROCESS: Final = frozenset(("onnx", "sentence_transformers"))

_OTHER_SPELLINGS = {
    "sentence_transformer": "sentence_transformers",
    "hf": "huggingface",
    "huggingface_api": "huggingface",
}
_MODELS = {f"sentence-transformers/{MINILM}": MINILM, MINILM.lower(): MINILM}


def _provider(value: object) -> object:
    if not isinstance(value, str):
        return value
    if is_class_path(value):
        return class_path(value, "MyEmbedder")
    name = value.replace("-", "_").lower()
    name = _OTHER_SPELLINGS.get(name, name)
    if name in DEFAULT_MODELS:
        return name
    hint = did_you_mean(name, DEFAULT_MODELS) or "my_package.my_module:MyEmbedder names a class of your own"
    context = {"name": value[:80], "choices": ", ".join(DEFAULT_MODELS), "hint": hint}
    raise PydanticCustomError("provider", "cannot be '{name}'; it is one of {choices}", context)


def _model(value: object) -> object:
    return _MODELS.get(value, value) if isinstance(value, str) else value


class EmbeddingsSpec(Spec):
    """An embedding model; unless told otherwise MiniLM, which is built in under `onnx` and `sentence_transformers`.

    `huggingface` with an endpoint is a Text Embeddings Inference server, without one the Inference API. A provider
    `package.module:Class` is a class of the user's own.
    """

    provider: Annotated[str, BeforeValidator(_provider)] = "sentence_transformers"
    model: Annotated[str, BeforeValidator(_model), Field(min_length=1)] = MINILM
    dimension: int | None = Field(default=None, gt=0, le=65_536, validation_alias=spelled("dimension", "dimensions"))
    endpoint: HttpUrl | None = None
    api_key: Secret | None = None
    query_prefix: str | None = Field(default=None, max_length=500)
    passage_prefix: str | None = Field(default=None, max_length=500)

    @model_validator(mode="before")
    @classmethod
    def _with_the_providers_model(cls, value: object) -> object:
        if not is_mapping(value) or value.get("model") is not None:
            return value
        provider = _canonical(value.get("provider"))
        given: dict[str, JsonValue] = dict(value)
        given["model"] = DEFAULT_MODELS.get(provider) or provider.rpartition(":")[2] or MINILM
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.provider in IN_PROCESS:
            for name in ("endpoint", "api_key"):
                if getattr(self, name) is not None:
                    context = {"provider": self.provider, "name": name, "hint": "a server's are huggingface and ollama"}
                    reason = "{provider} embeds in this process and has no {name}"
                    raise PydanticCustomError("unused", reason, context)
        if self.endpoint and "@" in urlsplit(self.endpoint.replace("${", "")).netloc:
            context = {"hint": "leave it out; name the key in api_key"}
            raise PydanticCustomError("endpoint", "has a user name or a password in its endpoint", context)
        return self

    @property
    def is_built_in(self) -> bool:
        """Whether the ONNX model that ships with Astromesh serves it."""
        return self.provider in IN_PROCESS and self.model == MINILM

    @property
    def is_custom(self) -> bool:
        """Whether a class of the user's own serves it."""
        return is_class_path(self.provider)

    @property
    def prefixes(self) -> Prefixes:
        """What is written before questions and passages: what is declared, else what the model is known to want."""
        known = NO_PREFIXES if self.is_custom else prefixes_of(self.model)
        return Prefixes(
            known.query if self.query_prefix is None else self.query_prefix,
            known.passage if self.passage_prefix is None else self.passage_prefix,
        )

    @property
    def without_prefixes(self) -> Self:
        """The model alone: declarations that differ in nothing else share it."""
        return self.model_copy(update={"query_prefix": None, "passage_prefix": None})

    @property
    def known_dimension(self) -> int | None:
        """The length of the model's vectors, where it is a well-known one."""
        return None if self.is_custom else KNOWN_DIMENSIONS.get(self.model.removesuffix(":latest"))


def _canonical(provider: object) -> str:
    """The provider's name where it is one; another is refused with its field."""
    try:
        return str(_provider(provider)) if isinstance(provider, str) else ""
    except PydanticCustomError:
        return ""
