"""Providers of models: vendors (data), the Provider resource, and ProviderConfig, which writes several in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from astromesh_core.resources.problems import did_you_mean
from astromesh_core.resources.secrets import Secret, check_variable_name
from astromesh_core.resources.spelling import Items, Spec, shaped, spelled
from astromesh_core.resources.urls import HttpUrl


@dataclass(frozen=True)
class Vendor:
    """What is known of a provider type: the dialect it speaks, and where it answers unless told otherwise."""

    dialect: str
    endpoint: str = ""
    api_key_env: str = ""
    """The variable whose key goes to `endpoint`, and to no other address."""


VENDORS: dict[str, Vendor] = {
    "extractive": Vendor("extractive"),
    "ollama": Vendor("ollama", "http://localhost:11434"),
    "openai_compat": Vendor("openai_compat", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "openai": Vendor("openai_compat", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "vllm": Vendor("openai_compat", "http://localhost:8000/v1"),
    "llamacpp": Vendor("openai_compat", "http://localhost:8080/v1"),
    "hf_tgi": Vendor("openai_compat", "http://localhost:8080/v1"),
    "onnx": Vendor("onnx"),
}
"""Every provider type by its canonical name."""

_OTHER_SPELLINGS = {"llama_cpp": "llamacpp", "huggingface_tgi": "hf_tgi", "tgi": "hf_tgi", "onnx_runtime": "onnx"}
_ELSEWHERE = {
    "azure_openai": "use openai_compat with the deployment's endpoint",
    "litellm": "run its proxy and use openai_compat with the proxy's endpoint",
    "centinela": "use openai_compat with its endpoint",
}


def _provider_type(value: object) -> object:
    if not isinstance(value, str):
        return value
    name = value.replace("-", "_").replace(".", "_").lower()
    name = _OTHER_SPELLINGS.get(name, name)
    if name in VENDORS:
        return name
    if name in _ELSEWHERE:
        raise PydanticCustomError(
            "provider", "names a provider that Astromesh does not have", {"hint": _ELSEWHERE[name]}
        )
    hint = did_you_mean(name, VENDORS) or "a Provider resource is named by providerRef; types are " + ", ".join(VENDORS)
    raise PydanticCustomError("provider", "is no provider type", {"hint": hint})


ProviderType = Annotated[str, BeforeValidator(_provider_type)]
"""A key of `VENDORS`; hyphens and underscores are one."""

VariableName = Annotated[str, AfterValidator(check_variable_name)]


class Capabilities(Spec):
    """What a model can do."""

    tools: bool = True
    vision: bool = False


class ModelOffer(Spec):
    """A model that a provider serves."""

    name: str = Field(min_length=1)
    capabilities: Capabilities = Capabilities()
    quality_score: float | None = Field(default=None, ge=0, le=1)
    cost_per_1k_tokens: float | None = Field(default=None, ge=0)
    """In US dollars, input and output alike."""


def _named_model(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Span = Annotated[str, shaped(r"\d+(ms|s|m|h)", "a span of time", "30s")]


class HealthCheck(Spec):
    """How often a provider is asked whether it is well."""

    interval: Span = "30s"
    timeout: Span = "5s"
    path: str | None = None


class CircuitBreaker(Spec):
    """When a failing provider is left alone, and for how long."""

    failure_threshold: int = Field(default=3, ge=1)
    cooldown_seconds: float = Field(default=60, gt=0, validation_alias=spelled("cooldown_seconds", "recovery_timeout"))


class ProviderSpec(Spec):
    """An endpoint that serves models. The first model is the default."""

    type: ProviderType
    endpoint: HttpUrl | None = None
    models: Items[Annotated[ModelOffer, BeforeValidator(_named_model)]] = ()
    api_key: Secret | None = None
    api_key_env: VariableName | None = None
    timeout_seconds: float | None = Field(default=None, gt=0, validation_alias=spelled("timeout_seconds", "timeout"))
    health_check: HealthCheck | None = None
    circuit_breaker: CircuitBreaker | None = None


class ProviderConfigSpec(Spec):
    """Several providers in one document; each becomes a Provider resource of its own."""

    providers: dict[str, JsonValue] = Field(min_length=1)
