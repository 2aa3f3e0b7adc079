"""An agent's declaration becomes an ordered list of whole candidates."""

import pytest

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.provider import ProviderSpec
from astromesh_router.candidates import Candidate, NamedProvider, Prices, pool_of, references

URL = "http://127.0.0.1:9"


def agent(model: dict[str, object]) -> AgentSpec:
    return AgentSpec.model_validate({"model": model}, strict=False)


def candidates(declared: AgentSpec, **providers: ProviderSpec) -> tuple[Candidate, ...]:
    ref = ResourceRef(kind="Agent", namespace="default", name="a")
    named = {name: NamedProvider(f"default/{name}", spec) for name, spec in providers.items()}
    return pool_of(ref, declared, named, "default").candidates


def test_the_primary_comes_first_then_each_fallback() -> None:
    declared = agent(
        {
            "primary": {"provider": "ollama", "model": "llama3.1:8b", "timeout": 5, "parameters": {"temperature": 0.1}},
            "fallback": [
                {"provider": "openai-compat", "model": "small", "endpoint": f"{URL}/v1/", "api_key_env": "LLM_KEY"},
                {"provider": "extractive"},
            ],
        }
    )
    first, second, third = candidates(declared)
    assert (first.dialect, first.model, first.patience.whole) == ("ollama", "llama3.1:8b", 5)
    assert first.parameters == {"temperature": 0.1}
    assert (second.dialect, second.endpoint, second.key) == ("openai_compat", f"{URL}/v1", "${LLM_KEY}")
    assert third.label == "extractive"


def test_a_provider_ref_brings_endpoint_key_model_and_price() -> None:
    declared = agent({"primary": {"providerRef": "lab"}})
    provider = ProviderSpec.model_validate(
        {
            "type": "openai_compat",
            "endpoint": URL,
            "api_key_env": "LAB_KEY",
            "models": [{"name": "small-1", "cost_per_1k_tokens": 0.5}],
        },
        strict=False,
    )
    (candidate,) = candidates(declared, lab=provider)
    assert references(declared) == ["lab"]
    assert (candidate.model, candidate.endpoint, candidate.key) == ("small-1", URL, "${LAB_KEY}")
    assert candidate.prices == Prices(0.5, 0.5)
    assert candidate.resource == "default/lab"


def test_the_vendors_key_goes_to_no_other_address() -> None:
    declared = agent({"primary": {"provider": "openai_compat", "model": "m", "endpoint": f"{URL}/v1"}})
    (candidate,) = candidates(declared)
    assert candidate.key is None


@pytest.mark.parametrize(
    ("declared", "priced"),
    [
        ({"provider": "ollama", "model": "m"}, True),
        ({"provider": "extractive"}, True),
        ({"provider": "openai", "model": "m"}, False),
        ({"provider": "openai", "model": "m", "cost_per_1k_tokens": 0}, True),
        ({"provider": "openai", "model": "m", "output_cost_per_1k_tokens": 0.1}, True),
        ({"provider": "my_pkg.models:Mine", "model": "m"}, False),
    ],
)
def test_without_a_price_own_hardware_is_free_and_of_others_nobody_knows(
    declared: dict[str, object], priced: bool
) -> None:
    (candidate,) = candidates(agent({"primary": declared}))
    assert candidate.priced is priced


def test_a_role_has_its_models_or_the_default_ones_and_says_whose_they_are() -> None:
    judge = {"candidates": [{"provider": "ollama", "model": "j"}], "strategy": "quality_first"}
    declared = agent({"primary": {"provider": "extractive"}, "roles": {"judge": judge}})
    ref = ResourceRef(kind="Agent", namespace="shop", name="a")
    own, default = (pool_of(ref, declared, {}, role) for role in ("judge", "writer"))
    assert (own.role, own.strategy, own.agent, own.candidates[0].model) == ("judge", "quality_first", "shop/a", "j")
    assert (default.role, default.strategy, default.candidates[0].provider) == ("default", "", "extractive")


def test_breaker_and_health_check_are_the_providers_unless_the_candidate_has_its_own() -> None:
    own: dict[str, object] = {"providerRef": "lab", "circuitBreaker": {"failureThreshold": 1, "cooldownSeconds": 5}}
    declared = agent({"primary": {"providerRef": "lab"}, "fallback": [own, {"provider": "extractive"}]})
    lab = ProviderSpec.model_validate(
        {
            "type": "ollama",
            "circuitBreaker": {"failureThreshold": 7, "cooldownSeconds": 20},
            "healthCheck": {"path": "/api/tags"},
        },
        strict=False,
    )
    found = candidates(declared, lab=lab)
    breakers = [(each.breaker.failure_threshold, each.breaker.cooldown_seconds) for each in found]
    assert breakers == [(7, 20), (1, 5), (3, 60)]
    assert [each.health_path for each in found] == ["/api/tags", "/api/tags", ""]
