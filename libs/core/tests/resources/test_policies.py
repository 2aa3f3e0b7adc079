"""Shared guardrail policies: named by agents, written into them, refused where they do not fit."""

from __future__ import annotations

import pytest

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.features import unsupported
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.policies import policies_of, with_policies
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.validation import check

POLICY = """
apiVersion: astromesh/v1
kind: GuardrailPolicy
metadata: {name: strict}
spec:
  dry_run: DRY
  rules:
    - {type: pii_detection, action: ACTION}
    - {type: max_length, max_characters: 100}
"""
AGENT = """
apiVersion: astromesh/v1
kind: Agent
metadata: {name: clerk}
spec:
  model: {primary: {provider: extractive}}
  guardrails: {GUARDRAILS}
"""


def loaded(guardrails: str, action: str = "redact", dry: str = "false") -> list[Resource]:
    policy = POLICY.replace("ACTION", action).replace("DRY", dry)
    found = load_text(policy + "---" + AGENT.replace("GUARDRAILS", guardrails), "all.yaml")
    assert found.problems == ()
    return list(found.resources)


def filled(resources: list[Resource]) -> GuardrailsSpec:
    agent = next(with_policies(it, policies_of(resources)) for it in resources if it.kind == "Agent")
    assert isinstance(agent.spec, AgentSpec)
    return agent.spec.guardrails


def test_the_rules_of_a_policy_stand_where_it_is_named_and_say_where_they_come_from() -> None:
    guardrails = filled(
        loaded("input: [{type: max_length, max_tokens: 9}, {policy: strict}], output: [{policy: strict}]")
    )
    told = [(place, rule.type, policy) for place, rule, policy, _ in guardrails.rules("input")]
    assert told == [
        ("guardrails.input[0]", "max_length", ""),
        ("guardrails.input[1].rules[0]", "pii_detection", "strict"),
        ("guardrails.input[1].rules[1]", "max_length", "strict"),
    ]
    assert [rule.type for _, rule, _, _ in guardrails.rules("output")] == ["pii_detection", "max_length"]
    assert GuardrailsSpec.from_json(guardrails.to_json()) == guardrails


@pytest.mark.parametrize(
    ("use", "dry", "tried"),
    [
        ("{policy: strict}", "false", False),
        ("{policy: strict}", "true", True),
        ("{policy: strict, dryRun: true}", "false", True),
    ],
)
def test_a_policy_is_tried_out_where_it_or_its_use_says_so(use: str, dry: str, tried: bool) -> None:
    guardrails = filled(loaded(f"input: [{use}]", dry=dry))
    assert {dry_run for *_, dry_run in guardrails.rules("input")} == {tried}


def test_a_policy_that_changes_changes_the_version_of_its_agents_and_undoes_no_dry_run() -> None:
    before = loaded("input: [{policy: strict}]", dry="true")
    agent = with_policies(before[1], policies_of(before))
    after = with_policies(agent, policies_of(loaded("", action="block")))
    assert agent.sha256 != after.sha256
    assert isinstance(after.spec, AgentSpec)
    assert [dry for *_, dry in after.spec.guardrails.rules("input")] == [False, False]
    assert with_policies(after, policies_of(loaded("", action="block"))).sha256 == after.sha256


def test_an_unknown_policy_is_refused_by_name() -> None:
    (problem,) = check(loaded("input: [{policy: strikt}]"))
    assert (problem.code, problem.path) == ("UnknownGuardrailPolicy", "spec.guardrails.input[0].policy")
    assert "strict" in problem.hint


def test_a_policy_that_masks_is_refused_where_no_model_reads() -> None:
    (problem,) = check(loaded("input: [{policy: strict}], output: [{policy: strict}]", action="mask"))
    assert (problem.code, problem.path) == ("MisplacedPolicy", "spec.guardrails.output[0].policy")
    assert "pii_detection" in problem.reason


def test_a_policy_that_comes_to_mask_leaves_the_agents_alone_where_no_model_reads() -> None:
    before = loaded("output: [{policy: strict}]")
    agent = with_policies(before[1], policies_of(before))
    assert with_policies(agent, policies_of(loaded("", action="mask"))) == agent


def test_a_mask_is_undone_only_in_tools_that_there_are() -> None:
    rule = "{type: pii_detection, action: mask, restore_in: [send]}"
    (gap,) = unsupported(loaded(f"input: [{rule}]")[1])
    assert (gap.field, gap.reason) == ("spec.guardrails.input[0].restore_in", "the agent has no tool 'send'")


def test_what_is_wrong_with_a_use_of_a_policy_is_said_at_its_field() -> None:
    written = AGENT.replace("GUARDRAILS", "toolResults: [{policy: strict, dryRun: maybe}]")
    (problem,) = load_text(written, "all.yaml").problems
    assert problem.path == "spec.guardrails.toolResults[0].dryRun"
