"""Which model judges found passages once more. Asking it is the vector library's."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.class_paths import class_path, is_class_path
from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.secrets import Secret
from astromesh_core.resources.spelling import Spec, is_mapping
from astromesh_core.resources.urls import HttpUrl

DEFAULT_RERANKERS: dict[str, str] = {
    "cross_encoder": "cross-encoder/ms-marco-MiniLM-L-6-v2",
    "cohere": "rerank-v4.0-fast",
}
"""Every built-in provider, with the model that it asks unless told otherwise."""

MOST_PASSAGES: Final = 100


def _provider(value: object) -> object:
    if not isinstance(value, str):
        return value
    if is_class_path(value):
        return class_path(value, "MyReranker")
    name = value.replace("-", "_").lower()
    if name in DEFAULT_RERANKERS:
        return name
    hint = did_you_mean(name, DEFAULT_RERANKERS) or "my_package.my_module:MyReranker names a class of your own"
    context = {"name": value[:80], "choices": ", ".join(DEFAULT_RERANKERS), "hint": hint}
    raise PydanticCustomError("provider", "cannot be '{name}'; it is one of {choices}", context)


class Reranking(Spec):
    """A second, slower judgement of what was found.

    A cross-encoder's `model` is a folder with its ONNX graph, or a name on the hub; a provider `package.module:Class`
    is a class of the user's own. Without a provider, `model` may name one (`model: cohere`).
    """

    enabled: bool = False
    provider: Annotated[str, BeforeValidator(_provider)] = "cross_encoder"
    model: str = Field(default=DEFAULT_RERANKERS["cross_encoder"], min_length=1)
    endpoint: HttpUrl | None = None
    api_key: Secret | None = None
    top_k: int | None = Field(default=None, ge=1, le=MOST_PASSAGES)
    """How many passages are shown after it, in place of `retrieval.top_k`."""

    @model_validator(mode="before")
    @classmethod
    def _with_the_providers_model(cls, value: object) -> object:
        if not is_mapping(value):
            return value
        given: dict[str, JsonValue] = dict(value)
        provider, model = given.get("provider"), given.get("model")
        if provider is None and isinstance(model, str) and _canonical(model):
            provider, model = _canonical(model), None
            given["provider"] = provider
        if model is None:
            name = _canonical(provider)
            given["model"] = DEFAULT_RERANKERS.get(name or "cross_encoder") or name.rpartition(":")[2]
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.provider == "cross_encoder":
            for name in ("endpoint", "api_key"):
                if getattr(self, name) is not None:
                    context = {"name": name, "hint": "cohere has one"}
                    raise PydanticCustomError(
                        "unused", "a cross_encoder runs in this process and has no {name}", context
                    )
        return self

    @property
    def is_custom(self) -> bool:
        """Whether a class of the user's own serves it."""
        return is_class_path(self.provider)


def _canonical(provider: object) -> str:
    """The provider's name where it is one, else nothing."""
    try:
        return str(_provider(provider)) if isinstance(provider, str) else ""
    except PydanticCustomError:
        return ""
