"""Providers of models: the Provider resource, and ProviderConfig, which writes several in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from astromesh_core.resources.circuit_breakers import CircuitBreaker
from astromesh_core.resources.model_traits import CallSettings, ModelTraits
from astromesh_core.resources.secrets import Secret, check_variable_name
from astromesh_core.resources.spelling import Items, Spec, is_mapping, shaped
from astromesh_core.resources.urls import HttpUrl
from astromesh_core.resources.vendors import ProviderType, check_address, vendor_of

VariableName = Annotated[str, AfterValidator(check_variable_name)]


class ModelOffer(ModelTraits):
    """A model that a provider serves."""

    name: str = Field(min_length=1)


def _named_model(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Span = Annotated[str, shaped(r"\d+(ms|s|m|h)", "a span of time", "30s")]
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(span: str) -> float:
    """Reads a span that was checked."""
    number = span.rstrip("msh")
    return int(number) * _UNIT_SECONDS[span.removeprefix(number)]


def _at_least(least: str) -> AfterValidator:
    def check(span: str) -> str:
        if seconds(span) >= seconds(least):
            return span
        raise PydanticCustomError("span", "is too short", {"hint": f"at least {least}"})

    return AfterValidator(check)


class HealthCheck(Spec):
    """How often a provider is asked whether it is well, and where.

    `path` is one of the endpoint's host, as in a probe of Kubernetes; a status of 2xx says that it is well. None: the
    list of models, which also tells whether the provider has those that are declared.
    """

    interval: Annotated[Span, _at_least("1s")] = "30s"
    timeout: Annotated[Span, _at_least("1ms")] = "5s"
    path: Annotated[str, shaped(r"/(?!/)\S*", "a path", "/api/tags")] | None = None


def _spanned(value: object) -> object:
    return f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else value


class ProviderSpec(CallSettings):
    """An endpoint that serves models. The first model is the default."""

    type: ProviderType
    endpoint: HttpUrl | None = None
    models: Items[Annotated[ModelOffer, BeforeValidator(_named_model)]] = ()
    api_key: Secret | None = None
    api_key_env: VariableName | None = None
    api_version: str | None = None
    """Of azure_openai's API, as in its documentation; None: its v1 API, which has none."""
    health_check: HealthCheck | None = None
    circuit_breaker: CircuitBreaker | None = None

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        check_address(self.type, self.endpoint, self.api_version, has_key=bool(self.api_key or self.api_key_env))
        return self

    @model_validator(mode="after")
    def _can_be_checked(self) -> Self:
        if self.health_check and self.health_check.path and not vendor_of(self.type).over_http:
            hint = "leave path out; it is checked all the same"
            raise PydanticCustomError("health", "has a path to check, and no address", {"hint": hint})
        return self


class SharedRouting(Spec):
    """What a ProviderConfig says of all its entries."""

    circuit_breaker: CircuitBreaker | None = None


class ProviderConfigSpec(Spec):
    """Several providers in one document; each becomes a Provider resource of its own.

    `routing.circuit_breaker` and `health_check_interval` (whole seconds, or a span) hold for entries without their own.
    """

    providers: dict[str, JsonValue] = Field(min_length=1)
    routing: SharedRouting = SharedRouting()
    health_check_interval: Annotated[Span, BeforeValidator(_spanned), _at_least("1s")] | None = None

    def whole(self, entry: JsonValue) -> JsonValue:
        """An entry with what it shares with the others. One that is no mapping stays as it is."""
        if not is_mapping(entry):
            return entry
        filled = dict(entry)
        if self.routing.circuit_breaker is not None:
            name = _spelling(entry, "circuit_breaker")
            filled[name] = entry.get(name) or self.routing.circuit_breaker.model_dump(mode="json")
        if self.health_check_interval is not None:
            name = _spelling(entry, "health_check")
            own = entry.get(name) or {}
            filled[name] = {"interval": self.health_check_interval, **own} if is_mapping(own) else own
        return filled


def _spelling(entry: Mapping[str, JsonValue], name: str) -> str:
    """The spelling of a field that an entry uses."""
    return to_camel(name) if to_camel(name) in entry else name
