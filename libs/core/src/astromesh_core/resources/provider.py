"""Providers of models: the Provider resource, and ProviderConfig, which writes several in one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from astromesh_core.resources.model_traits import CallSettings, ModelTraits
from astromesh_core.resources.secrets import Secret, check_variable_name
from astromesh_core.resources.spelling import Items, Spec, shaped, spelled
from astromesh_core.resources.urls import HttpUrl
from astromesh_core.resources.vendors import ProviderType

VariableName = Annotated[str, AfterValidator(check_variable_name)]


class ModelOffer(ModelTraits):
    """A model that a provider serves."""

    name: str = Field(min_length=1)


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


class ProviderConfigSpec(Spec):
    """Several providers in one document; each becomes a Provider resource of its own."""

    providers: dict[str, JsonValue] = Field(min_length=1)
