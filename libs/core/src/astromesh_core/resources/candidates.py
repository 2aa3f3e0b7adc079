"""The models that an agent may use, and how a candidate and the Provider that it refers to make one target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.circuit_breakers import CircuitBreaker
from astromesh_core.resources.model_traits import CallSettings, Capabilities, ModelTraits
from astromesh_core.resources.provider import ProviderSpec, VariableName
from astromesh_core.resources.references import Name, Reference
from astromesh_core.resources.secrets import Secret, SecretKeyRef
from astromesh_core.resources.spelling import Items, Spec, is_mapping, spelled
from astromesh_core.resources.urls import HttpUrl
from astromesh_core.resources.vendors import OWN_HARDWARE, ProviderType, check_address, vendor_of
from astromesh_core.resources.yaml_documents import Path

Strategy = Literal["cost_optimized", "latency_optimized", "quality_first", "round_robin", "capability_match"]

Shared = TypeVar("Shared", bound=Spec)

WRITTEN_BY_ROUTER = frozenset({"messages", "model", "stream", "system", "tools"})
"""Fields of a request that `parameters` may not set: they come from the agent and the run."""


def _not_written_by_router(parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    taken = sorted(WRITTEN_BY_ROUTER.intersection(parameters))
    if taken:
        raise PydanticCustomError(
            "parameter", "sets {name}, which the router writes", {"name": taken[0], "hint": "remove it"}
        )
    return parameters


Parameters = Annotated[dict[str, JsonValue], AfterValidator(_not_written_by_router)]


class Candidate(ModelTraits, CallSettings):
    """A model an agent may use: named here in full, or by `provider_ref`, whose settings its own ones override."""

    provider: ProviderType | None = Field(default=None, validation_alias=spelled("provider", "source"))
    provider_ref: Reference | None = None
    model: str | None = Field(default=None, min_length=1)
    endpoint: HttpUrl | None = None
    api_key: Secret | None = None
    api_key_env: VariableName | None = None
    api_version: str | None = None
    circuit_breaker: CircuitBreaker | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, gt=0)
    parameters: Parameters = Field(default_factory=dict[str, JsonValue])
    """Sent to the model as they are. `temperature` and `max_tokens` may stand here or beside."""

    @property
    def has_key(self) -> bool:
        """Whether it names a key of its own."""
        return bool(self.api_key or self.api_key_env)

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
        if provider:
            check_address(provider, self.endpoint, self.api_version, has_key=self.has_key)
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
    """How every role chooses among its candidates that names no strategy. None at all: the first that works."""

    strategy: Strategy | None = None


def _as_list(value: object) -> object:
    return [value] if is_mapping(value) else value


class RoleModels(Spec):
    """The candidates of one role."""

    candidates: Items[Candidate] = Field(min_length=1)
    strategy: Strategy | None = None


DEFAULT_ROLE = "default"


class ModelSpec(Spec):
    """The candidates of an agent, in order of preference. `fallback` is a list; a single one may stand without.

    They stand in `primary`, `fallback` and `extra`, or in `default`; roles may have candidates of their own.
    """

    primary: Candidate | None = None
    fallback: Annotated[Items[Candidate], BeforeValidator(_as_list)] = ()
    extra: dict[str, Candidate] = Field(default_factory=dict[str, Candidate])
    routing: Routing = Routing()
    default: RoleModels | None = None
    roles: dict[Name, RoleModels] = Field(default_factory=dict[Name, RoleModels])

    @model_validator(mode="after")
    def _has_one_default(self) -> Self:
        if self.default and self.primary:
            raise PydanticCustomError("model", "names both primary and default", {"hint": "keep one"})
        if not (self.default or self.primary):
            raise PydanticCustomError("model", "names no model", {"hint": "write primary, or default.candidates"})
        return self

    @property
    def first(self) -> Candidate:
        """The candidate that the agent prefers."""
        return self.candidates[0]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate of the default role, the preferred one first."""
        return tuple(candidate for _, candidate in self.placed())

    @property
    def strategy(self) -> Strategy | None:
        """How the default role chooses."""
        return (self.default.strategy if self.default else None) or self.routing.strategy

    def of_role(self, role: str) -> RoleModels:
        """The models of a role, or the default ones; `routing` holds where no strategy is named with them."""
        own = self.roles.get(role)
        candidates, strategy = (own.candidates, own.strategy) if own else (self.candidates, self.strategy)
        return RoleModels.model_construct(candidates=candidates, strategy=strategy or self.routing.strategy)

    def placed(self) -> Iterator[tuple[Path, Candidate]]:
        """Each candidate of the default role with its place in this spec."""
        if self.primary is not None:
            yield ("primary",), self.primary
        for index, candidate in enumerate(self.default.candidates if self.default else ()):
            yield ("default", "candidates", index), candidate
        for index, candidate in enumerate(self.fallback):
            yield ("fallback", index), candidate
        for name, candidate in sorted(self.extra.items()):
            yield ("extra", name), candidate

    def everywhere(self) -> Iterator[tuple[Path, Candidate]]:
        """Each candidate of every role with its place in this spec."""
        yield from self.placed()
        for role, models in self.roles.items():
            for index, candidate in enumerate(models.candidates):
                yield ("roles", role, "candidates", index), candidate


@dataclass(frozen=True)
class Target:
    """A candidate made whole: where to send a request, in which dialect, with which key. The key is a reference."""

    provider: str
    dialect: str
    model: str
    endpoint: str
    api_key: str | SecretKeyRef | None
    api_version: str
    calls: CallSettings
    parameters: dict[str, JsonValue]
    traits: ModelTraits
    circuit_breaker: CircuitBreaker

    @property
    def priced(self) -> bool:
        """Whether it is known what it costs."""
        traits = self.traits
        given = (traits.cost_per_1k_tokens, traits.input_cost_per_1k_tokens, traits.output_cost_per_1k_tokens)
        return self.provider in OWN_HARDWARE or any(price is not None for price in given)


def target_of(candidate: Candidate, provider: ProviderSpec | None) -> Target:
    """Merges a candidate with the Provider that its `provider_ref` names (None: it has none)."""
    source = provider or ProviderSpec.model_construct(None, type=candidate.provider or "openai_compat")
    vendor = vendor_of(source.type)
    endpoint = candidate.endpoint or source.endpoint or vendor.endpoint
    model = candidate.model or (source.models[0].name if source.models else source.type)
    offer = next((offer for offer in source.models if offer.name == model), None)
    return Target(
        provider=source.type,
        dialect=vendor.dialect,
        model=model,
        endpoint=endpoint,
        api_key=_key(candidate, source, endpoint),
        api_version=candidate.api_version or source.api_version or "",
        calls=merged(CallSettings, candidate, source),
        parameters=candidate.parameters,
        traits=_traits(candidate, offer),
        circuit_breaker=candidate.circuit_breaker or source.circuit_breaker or CircuitBreaker(),
    )


def merged(model: type[Shared], *levels: Spec) -> Shared:
    """The fields of a shared spec, each from the first of the levels that sets it."""
    values: dict[str, JsonValue] = {}
    for name in model.model_fields:
        given = (getattr(level, name) for level in levels)
        values[name] = next((value for value in given if value is not None), None)
    return model.model_construct(None, **values)


def _traits(candidate: Candidate, offer: ModelTraits | None) -> ModelTraits:
    if offer is None:
        return merged(ModelTraits, candidate)
    capabilities = merged(Capabilities, candidate.capabilities, offer.capabilities)
    return merged(ModelTraits, candidate, offer).model_copy(update={"capabilities": capabilities})


def _key(candidate: Candidate, source: ProviderSpec, endpoint: str) -> str | SecretKeyRef | None:
    own = _own_key(candidate)
    if own is not None:
        return own
    moved = candidate.endpoint is not None and candidate.endpoint != source.endpoint
    shared = None if moved else _own_key(source)
    if shared is not None:
        return shared
    vendor = vendor_of(source.type)
    return f"${{{vendor.api_key_env}:-}}" if vendor.api_key_env and endpoint == vendor.endpoint else None


def _own_key(holder: Candidate | ProviderSpec) -> str | SecretKeyRef | None:
    return f"${{{holder.api_key_env}}}" if holder.api_key_env else holder.api_key
