"""Budgets as they are declared: what each bounds, whose it is, and what is wrong with one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.resources.validation import check

DOCS = Path(__file__).parents[4] / "docs" / "budgets.md"
HEAD = "---\napiVersion: astromesh/v1\n"
HASH = "sha256:" + "0" * 64
MONEY = "{per_day: {usd: 5}}"


def agent(model: str, budget: str = MONEY) -> str:
    spec = f"{{model: {{primary: {model}}}, budget: {budget}}}"
    return f"{HEAD}kind: Agent\nmetadata: {{name: a}}\nspec: {spec}\n"


def config(*budgets: str, name: str = "mesh") -> str:
    keys = f"api_keys: [{{name: support-team, hash: '{HASH}'}}]"
    spec = f"{{{keys}, budgets: [{', '.join(budgets)}]}}"
    return f"{HEAD}kind: RuntimeConfig\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def provider(traits: str = "") -> str:
    models = f"[{{name: gpt-4o{traits}}}]"
    return f"{HEAD}kind: Provider\nmetadata: {{name: cloud}}\nspec: {{type: openai, models: {models}}}\n"


def resources(*texts: str) -> list[Resource]:
    loaded = load_text("".join(texts), "all.yaml")
    assert loaded.problems == ()
    return list(loaded.resources)


def test_an_agent_may_bound_runs_days_and_months_in_money_and_tokens() -> None:
    budget = "{per_run: {usd: 0.05, tokens: 20000}, perDay: {usd: 5}, per_month: {tokens: 1000000}}"
    (declared,) = resources(agent("{provider: ollama, model: m}", budget))
    assert isinstance(declared.spec, AgentSpec)
    assert declared.spec.budget is not None
    assert declared.spec.budget.per_run is not None
    assert (declared.spec.budget.per_run.usd, declared.spec.budget.per_run.tokens) == (0.05, 20_000)
    assert (unsupported(declared), check([declared])) == ([], [])


def test_namespaces_and_keys_have_budgets_in_the_runtime_config() -> None:
    (declared,) = resources(
        config("{namespace: default, per_month: {usd: 100}}", "{api_key: support-team, per_day: {usd: 1}}")
    )
    assert isinstance(declared.spec, RuntimeConfigSpec)
    assert [budget.api_key for budget in declared.spec.budgets] == [None, "support-team"]
    assert (unsupported(declared), check([declared])) == ([], [])


def test_a_budget_of_a_key_names_one_that_exists() -> None:
    (problem,) = check(resources(config("{api_key: suport-team, per_day: {usd: 1}}")))
    assert (problem.code, problem.path) == ("UnknownKey", "spec.budgets[0].api_key")
    assert problem.hint == "did you mean 'support-team'?"


@pytest.mark.parametrize("scope", ["namespace: default", "api_key: support-team"])
def test_a_scope_has_one_budget(scope: str) -> None:
    (problem,) = check(resources(config(f"{{{scope}, per_day: {{usd: 1}}}}", f"{{{scope}, per_month: {{usd: 9}}}}")))
    assert (problem.code, problem.path) == ("DuplicateBudget", f"spec.budgets[1].{scope.split(':')[0]}")


def test_a_scope_has_one_budget_in_all_configs_together() -> None:
    budget = "{namespace: default, per_day: {usd: 1}}"
    (problem,) = check(resources(config(budget), config(budget, name="other")))
    assert (problem.code, problem.resource) == ("DuplicateBudget", "RuntimeConfig default/other")


@pytest.mark.parametrize(
    "model",
    [
        "{provider: ollama, model: m}",
        "{provider: extractive}",
        "{provider: openai, model: gpt-4o, cost_per_1k_tokens: 0}",
        "{provider: openai, model: gpt-4o, input_cost_per_1k_tokens: 0.0025}",
        "{provider: 'my.models:Mine', model: m}",
    ],
)
def test_a_budget_of_money_takes_models_whose_price_is_known(model: str) -> None:
    assert check(resources(agent(model))) == []


def test_a_budget_of_money_takes_no_model_whose_price_nobody_knows() -> None:
    (problem,) = check(resources(agent("{provider: openai, model: gpt-4o}")))
    assert (problem.code, problem.path, problem.line) == ("UnpricedModel", "spec.model.primary", 5)
    assert problem.reason == "nobody knows what gpt-4o costs, and the agent's budget counts money"
    assert problem.hint == "declare cost_per_1k_tokens, 0 where it is free"


def test_what_the_documentation_shows_loads_and_is_served() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    documented = resources(*(f"---\n{example}" for example in examples))
    assert sorted(each.kind for each in documented) == ["Agent", "Provider", "RuntimeConfig"]
    assert check(documented) == []
    assert [unsupported(each) for each in documented] == [[]] * 3


def test_a_budget_of_tokens_needs_no_prices() -> None:
    assert check(resources(agent("{provider: openai, model: gpt-4o}", "{per_day: {tokens: 1000}}"))) == []


def test_a_price_may_stand_with_the_provider() -> None:
    model = "{providerRef: cloud}"
    assert check(resources(agent(model), provider(", cost_per_1k_tokens: 0.01"))) == []
    (problem,) = check(resources(agent(model), provider()))
    assert (problem.code, problem.resource) == ("UnpricedModel", "Agent default/a")
