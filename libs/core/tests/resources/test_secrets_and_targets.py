"""Secrets are references until they are used, and a key goes to no address but its own."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources.candidates import Candidate, ModelSpec, target_of
from astromesh_core.resources.model_traits import Capabilities
from astromesh_core.resources.parsing import parse_resource
from astromesh_core.resources.problems import InvalidResource
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.secrets import SecretKeyRef, resolve, variables


def candidate(text: str) -> Candidate:
    return Candidate.from_json(text)


def provider(text: str) -> ProviderSpec:
    return ProviderSpec.from_json(text)


def test_resolves_variables_and_defaults() -> None:
    environ = {"HOST": "db", "EMPTY": ""}
    assert resolve("http://${HOST}:${PORT:-5432}/${EMPTY:-x}", environ) == "http://db:5432/x"


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(InvalidInput, match="LLM_KEY is not set"):
        resolve("${LLM_KEY}", {})


def test_a_secret_of_kubernetes_is_not_resolved_here() -> None:
    reference = SecretKeyRef.from_json('{"secretKeyRef": {"name": "llm", "key": "token"}}')
    with pytest.raises(NotSupported, match="llm/token"):
        resolve(reference, {})


def test_lists_the_variables_that_must_be_set() -> None:
    assert variables("${A}-${B:-x}-${C}") == ["A", "C"]


def test_a_candidate_is_whole_by_itself() -> None:
    target = target_of(candidate('{"provider": "ollama", "model": "m", "temperature": 0.5}'), None)
    assert (target.dialect, target.endpoint, target.model) == ("ollama", "http://localhost:11434", "m")
    assert target.parameters == {"temperature": 0.5}
    assert target.api_key is None


def test_a_candidate_overrides_the_provider_that_it_refers_to() -> None:
    lab = provider(
        '{"type": "vllm", "endpoint": "http://lab/v1/", "api_key_env": "K", "timeout": 7, "max_retries": 3,'
        ' "models": ["m1", {"name": "m2", "quality_score": 0.5, "cost_per_1k_tokens": 1,'
        ' "capabilities": {"vision": true}}]}'
    )
    own = '"max_retries": 0, "quality_score": 0.9, "capabilities": {"tools": false}'
    target = target_of(candidate('{"providerRef": "lab", "model": "m2", ' + own + "}"), lab)
    assert (target.dialect, target.endpoint, target.model) == ("openai_compat", "http://lab/v1", "m2")
    assert (target.api_key, target.calls.timeout_seconds, target.calls.max_retries) == ("${K}", 7.0, 0)
    assert (target.traits.quality_score, target.traits.cost_per_1k_tokens) == (0.9, 1.0)
    assert target.traits.capabilities == Capabilities(tools=False, vision=True)
    assert target_of(candidate('{"providerRef": "lab"}'), lab).model == "m1"


def test_a_key_goes_to_no_address_but_its_own() -> None:
    lab = provider('{"type": "openai", "api_key_env": "K", "endpoint": "http://lab/v1", "models": ["m"]}')
    moved = candidate('{"providerRef": "lab", "endpoint": "http://elsewhere/v1"}')
    assert target_of(moved, lab).api_key is None
    assert target_of(candidate('{"provider": "openai", "model": "m"}'), None).api_key == "${OPENAI_API_KEY:-}"
    other = candidate('{"provider": "openai", "model": "m", "endpoint": "http://llm:9000/v1"}')
    assert target_of(other, None).api_key is None


def test_a_request_with_a_key_is_refused_without_repeating_it() -> None:
    spec: JsonValue = {"type": "ollama", "api_key": "sk-very-secret"}
    with pytest.raises(InvalidResource) as refused:
        parse_resource({"apiVersion": "astromesh/v1", "kind": "Provider", "metadata": {"name": "p"}, "spec": spec})
    assert refused.value.code == "invalid-input"
    assert "sk-very-secret" not in str(refused.value)


def test_a_role_without_models_of_its_own_uses_the_default_ones() -> None:
    declared = ModelSpec.model_validate_json(
        '{"default": {"candidates": [{"provider": "ollama", "model": "d"}], "strategy": "round_robin"},'
        ' "roles": {"judge": {"candidates": [{"provider": "ollama", "model": "j"}]}}}'
    )
    assert [each.model for each in declared.of_role("judge").candidates] == ["j"]
    assert [each.model for each in declared.of_role("writer").candidates] == ["d"]
    assert declared.of_role("writer").strategy == "round_robin"


def test_routing_holds_for_every_role_that_names_no_strategy() -> None:
    declared = ModelSpec.model_validate_json(
        '{"primary": {"provider": "ollama", "model": "d"}, "routing": {"strategy": "quality_first"},'
        ' "roles": {"judge": {"candidates": [{"provider": "ollama", "model": "j"}]},'
        ' "writer": {"candidates": [{"provider": "ollama", "model": "w"}], "strategy": "round_robin"}}}'
    )
    chosen = {role: declared.of_role(role).strategy for role in ("default", "judge", "writer", "other")}
    assert chosen == {
        "default": "quality_first",
        "judge": "quality_first",
        "writer": "round_robin",
        "other": "quality_first",
    }
