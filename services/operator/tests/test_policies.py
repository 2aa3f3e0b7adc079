"""Shared guardrail policies: written into every agent that names them, whoever manages it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.resource import Resource
from astromesh_operator.folder import read_folder
from astromesh_operator.planning import Plan, Stored, plan

from .texts import PROVIDERS, agent, write

DESK = ResourceKey("Agent", "default", "desk")
POLICY = ResourceKey("GuardrailPolicy", "default", "house")
NAMES = "  guardrails: {output: [{policy: house}]}\n"


def policy(most: int) -> str:
    return f"""\
apiVersion: astromesh/v1
kind: GuardrailPolicy
metadata: {{name: house}}
spec: {{rules: [{{type: max_length, max_characters: {most}}}]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "providers.yaml": PROVIDERS,
        "policies/house.policy.yaml": policy(10),
        "agents/desk.agent.yaml": agent(extra=NAMES),
    }
    return write(tmp_path / "config", files)


def serving(decided: Plan) -> dict[ResourceKey, Stored]:
    return {resource.key: Stored(resource, resource.locate(())[0], 7) for resource in decided.put}


def bounds(resource: Resource) -> list[int | None]:
    assert isinstance(resource.spec, AgentSpec)
    return [getattr(rule, "max_characters", None) for _, rule, _, _ in resource.spec.guardrails.rules("output")]


def put(decided: Plan, key: ResourceKey) -> Resource:
    return next(resource for resource in decided.put if resource.key == key)


def test_an_edited_policy_is_a_new_version_of_the_agents_of_the_folder(folder: Path) -> None:
    before = plan(read_folder(folder), {})
    assert bounds(put(before, DESK)) == [10]
    write(folder, {"policies/house.policy.yaml": policy(20)})
    after = plan(read_folder(folder), serving(before))
    assert bounds(put(after, DESK)) == [20]
    assert after.refilled == ()


def test_an_edited_policy_is_a_new_version_of_the_agents_of_others(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    before[DESK] = Stored(replace(before[DESK].resource, managed_by="api"), "", 7)
    (folder / "agents" / "desk.agent.yaml").unlink()
    assert plan(read_folder(folder), before).refilled == ()
    write(folder, {"policies/house.policy.yaml": policy(20)})
    (refilled,) = plan(read_folder(folder), before).refilled
    assert (bounds(refilled.resource), refilled.resource.managed_by, refilled.generation) == ([20], "api", 7)


def test_a_policy_that_an_agent_names_stays_though_its_file_is_gone(folder: Path) -> None:
    before = serving(plan(read_folder(folder), {}))
    (folder / "policies" / "house.policy.yaml").unlink()
    decided = plan(read_folder(folder), before)
    assert POLICY not in decided.delete
    assert "Agent default/desk refers to it" in decided.refused[POLICY][0].reason
    assert bounds(put(decided, DESK)) == [10]


def test_an_agent_that_names_no_policy_that_there_is_is_refused(folder: Path) -> None:
    write(folder, {"agents/new.agent.yaml": agent("new", extra="  guardrails: {input: [{policy: hause}]}\n")})
    (problem,) = plan(read_folder(folder), {}).refused[ResourceKey("Agent", "default", "new")]
    assert (problem.code, problem.path, problem.line) == (
        "UnknownGuardrailPolicy",
        "spec.guardrails.input[0].policy",
        7,
    )
    assert "house" in problem.hint
