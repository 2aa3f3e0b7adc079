"""Health checks and circuit breakers of providers: what is declared, what a ProviderConfig shares, what is refused."""

from __future__ import annotations

import pytest

from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.provider import HealthCheck, ProviderSpec, seconds

LAB = """\
apiVersion: astromesh/v1
kind: ProviderConfig
metadata: {name: lab}
spec:
  routing: {circuit_breaker: {failure_threshold: 5, recovery_timeout: 30}}
  health_check_interval: 15
  providers:
    plain: {type: ollama}
    own: {type: ollama, circuitBreaker: {failureThreshold: 1}, healthCheck: {interval: 2m, path: /api/tags}}
    partly: {type: ollama, health_check: {timeout: 1s}}
"""
PROVIDER = "apiVersion: astromesh/v1\nkind: Provider\nmetadata: {name: p}\nspec:\n  type: %s\n  healthCheck: %s\n"


def specs(text: str) -> dict[str, ProviderSpec]:
    loaded = load_text(text, "providers.yaml")
    assert loaded.problems == ()
    assert [gap for resource in loaded.resources for gap in unsupported(resource)] == []
    return {resource.name: resource.spec for resource in loaded.resources if isinstance(resource.spec, ProviderSpec)}


def problem(text: str) -> Problem:
    (only,) = load_text(text, "p.yaml").problems
    return only


def test_what_a_config_shares_holds_for_entries_without_their_own() -> None:
    found = specs(LAB)
    breakers = {name: spec.circuit_breaker for name, spec in found.items()}
    assert [
        (breaker.failure_threshold, breaker.cooldown_seconds) for breaker in breakers.values() if breaker is not None
    ] == [(5, 30), (1, 60), (5, 30)]
    checks = [spec.health_check or HealthCheck() for spec in found.values()]
    assert [(check.interval, check.timeout, check.path) for check in checks] == [
        ("15s", "5s", None),
        ("2m", "5s", "/api/tags"),
        ("15s", "1s", None),
    ]


def test_a_config_without_shared_settings_changes_no_entry() -> None:
    text = LAB.replace("  routing: {circuit_breaker: {failure_threshold: 5, recovery_timeout: 30}}\n", "")
    found = specs(text.replace("  health_check_interval: 15\n", ""))["plain"]
    assert found == ProviderSpec(type="ollama")


def test_a_mistake_in_an_entry_keeps_its_line() -> None:
    told = problem(LAB.replace("failureThreshold: 1", "failureThreshold: 0"))
    assert (told.line, told.path) == (9, "spec.providers.own.circuitBreaker.failureThreshold")


@pytest.mark.parametrize(
    ("field", "advice"),
    [("default_strategy: cost_optimized", "spec.model.routing.strategy"), ("fallback_enabled: true", "fallback")],
)
def test_routing_of_all_agents_is_refused_with_what_to_write_instead(field: str, advice: str) -> None:
    told = problem(LAB.replace("routing: {", f"routing: {{{field}, "))
    assert told.line == 5
    assert advice in told.reason


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("{interval: 500ms}", "is too short; at least 1s"),
        ("{timeout: 0s}", "is too short; at least 1ms"),
        ("{interval: often}", "is not a span of time; such as 30s"),
        ("{path: health}", "is not a path; such as /api/tags"),
        ("{path: //elsewhere/health}", "is not a path; such as /api/tags"),
    ],
)
def test_a_health_check_that_cannot_be_is_refused(check: str, reason: str) -> None:
    told = problem(PROVIDER % ("ollama", check))
    assert f"{told.reason}; {told.hint}" == reason


@pytest.mark.parametrize("provider", ["extractive", "'my.module:Mine'"])
def test_what_has_no_address_has_no_path_to_check(provider: str) -> None:
    assert "has a path to check, and no address" in problem(PROVIDER % (provider, "{path: /health}")).reason
    assert specs(PROVIDER % ("extractive", "{interval: 10s}"))


@pytest.mark.parametrize(("span", "expected"), [("250ms", 0.25), ("30s", 30), ("2m", 120), ("1h", 3600)])
def test_a_span_is_read_in_seconds(span: str, expected: float) -> None:
    assert seconds(span) == expected


AGENT = "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: a}\nspec:\n  model: {primary: {%s}}\n"
TYPED = "apiVersion: astromesh/v1\nkind: Provider\nmetadata: {name: p}\nspec: {%s}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AGENT % "provider: azure_openai, model: m", "such as endpoint: https://NAME.openai.azure.com"),
        (TYPED % "type: azure_openai", "such as endpoint: https://NAME.openai.azure.com"),
        (AGENT % "provider: ollama, model: m, api_version: '1'", "of azure_openai alone there are versions"),
        (TYPED % "type: vllm, apiVersion: '1'", "of azure_openai alone there are versions"),
    ],
)
def test_an_address_that_is_missing_and_a_version_that_means_nothing_are_refused(text: str, said: str) -> None:
    assert said in problem(text).hint


def test_azure_takes_both() -> None:
    where = "endpoint: 'https://x.openai.azure.com', api_version: 2024-10-21"
    assert load_text(AGENT % f"provider: azure_openai, model: m, {where}", "a.yaml").problems == ()
    assert load_text(TYPED % f"type: azure_openai, {where}", "p.yaml").problems == ()


@pytest.mark.parametrize("endpoint", ["https://me:sk-secret@models.example/v1", "http://${HOST}:${P}@h", "http://me@h"])
def test_a_password_in_an_endpoint_is_refused_because_errors_and_routes_name_endpoints(endpoint: str) -> None:
    config = "apiVersion: astromesh/v1\nkind: Provider\nmetadata: {name: p}\nspec:\n  type: vllm\n  endpoint: %s\n"
    told = " ".join(map(str, load_text(config % endpoint, "p.yaml").problems))
    assert "has a user name or a password in its endpoint" in told
    assert "api_key_env" in told
    assert "sk-secret" not in told
