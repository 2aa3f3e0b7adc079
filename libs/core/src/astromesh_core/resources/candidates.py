"""The models that an agent may use, and how a candidate and the Provider that it refers to make one target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.provider import VENDORS, ModelOffer, ProviderSpec, ProviderType, VariableName
from astromesh_core.resources.references import Reference
from astromesh_core.resources.secrets import Secret, SecretKeyRef
from astromesh_core.resources.spelling import Items, Spec, is_mapping, spelled
from astromesh_core.resources.urls import HttpUrl

Strategy = Literal["cost_optimized", "latency_optimized", "quality_first", "round_robin", "capability_match"]

DEFAULT_TIMEOUT_SECONDS = 120.0


class Candidate(Spec):
    """A model an agent may use: named here in full, or by `provider_ref`, whose settings its own ones override."""

    provider: ProviderType | None = Field(default=None, validation_alias=spelled("provider", "source"))
    provider_ref: Reference | None = None
    model: str | None = Field(default=None, min_length=1)
    endpoint: HttpUrl | None = None
    api_key: Secret | None = None
    api_key_env: VariableName | None = None
    timeout_seconds: float | None = Field(default=None, gt=0, validation_alias=spelled("timeout_seconds", "timeout"))
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, gt=0)
    parameters: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Sent to the model as they are. `temperature` and `max_tokens` may stand here or beside."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider and self.provider_ref:
            raise PydanticCustomError("candidate", "names both provider and providerRef", {"hint": "keep one"})
        parameters = dict(self.parameters)
        for name in ("temperature", "max_tokens"):
            beside = getattr(self, name)
            if beside is not None and parameters.setdefault(name, beside) != beside:
                raise PydanticCustomError("candidate", "gives {name} twice, with two values", {"name": name})
        _check_sampling(parameters)
        provider = self.provider or (None if self.provider_ref else _inferred(self.model))
        if provider and provider != "extractive" and not self.model:
            raise PydanticCustomError("candidate", "names no model", {"hint": "such as model: llama3.1:8b"})
        update = {"provider": provider, "parameters": parameters, "temperature": None, "max_tokens": None}
        return self.model_copy(update=update)


def _inferred(model: str | None) -> str:
    if not model:
        raise PydanticCustomError("candidate", "names no provider", {"hint": "write provider or providerRef"})
    if "/" in model:
        hint = "write provider: openai_compat and its endpoint"
        raise PydanticCustomError("candidate", "names no provider; a '/' in the model meant litellm", {"hint": hint})
    return "openai_compat"


def _check_sampling(parameters: dict[str, JsonValue]) -> None:
    temperature = parameters.get("temperature")
    if temperature is not None:
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature <= 2:
            raise PydanticCustomError("parameter", "parameters.temperature must be a number from 0 to 2")
        parameters["temperature"] = float(temperature)
    max_tokens = parameters.get("max_tokens")
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise PydanticCustomError("parameter", "parameters.max_tokens must be a whole number over 0")


class Routing(Spec):
    """How to choose among the candidates. Without a strategy: the first that works, in their order."""

    strategy: Strategy | None = None


def _as_list(value: object) -> object:
    return [value] if is_mapping(value) else value


class ModelSpec(Spec):
    """The candidates of an agent, in order of preference. `fallback` is a list; a single one may stand without."""

    primary: Candidate
    fallback: Annotated[Items[Candidate], BeforeValidator(_as_list)] = ()
    routing: Routing = Routing()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate, the primary first."""
        return (self.primary, *self.fallback)


@dataclass(frozen=True)
class Target:
    """A candidate made whole: where to send a request, in which dialect, with which key. The key is a reference."""

    provider: str
    dialect: str
    model: str
    endpoint: str
    api_key: str | SecretKeyRef | None
    timeout_seconds: float
    parameters: dict[str, JsonValue]
    offer: ModelOffer | None
    """What the Provider says of the model: cost, capabilities."""


def target_of(candidate: Candidate, provider: ProviderSpec | None) -> Target:
    """Merges a candidate with the Provider that its `provider_ref` names (None: it has none)."""
    source = provider or ProviderSpec(type=candidate.provider or "openai_compat")
    vendor = VENDORS[source.type]
    endpoint = candidate.endpoint or source.endpoint or vendor.endpoint
    model = candidate.model or (source.models[0].name if source.models else source.type)
    return Target(
        provider=source.type,
        dialect=vendor.dialect,
        model=model,
        endpoint=endpoint,
        api_key=_key(candidate, source, endpoint),
        timeout_seconds=candidate.timeout_seconds or source.timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
        parameters=candidate.parameters,
        offer=next((offer for offer in source.models if offer.name == model), None),
    )


def _key(candidate: Candidate, source: ProviderSpec, endpoint: str) -> str | SecretKeyRef | None:
    own = _own_key(candidate)
    if own is not None:
        return own
    moved = candidate.endpoint is not None and candidate.endpoint != source.endpoint
    shared = None if moved else _own_key(source)
    if shared is not None:
        return shared
    vendor = VENDORS[source.type]
    return f"${{{vendor.api_key_env}:-}}" if vendor.api_key_env and endpoint == vendor.endpoint else None


def _own_key(holder: Candidate | ProviderSpec) -> str | SecretKeyRef | None:
    return f"${{{holder.api_key_env}}}" if holder.api_key_env else holder.api_key
