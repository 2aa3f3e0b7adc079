"""Shared guardrail policies: their rules are written into the agents that name them, before an agent is stored.

So a version of an agent holds what guards it: a run keeps the rules that it started with, a change of a policy is a new
version of every agent that names it, and no service asks for a policy while it checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import orjson
from pydantic import ValidationError

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.guardrails import STAGES, GuardrailPolicySpec, GuardrailsSpec, PolicyUse
from astromesh_core.resources.references import ResourceKey, refer
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.yaml_documents import Path

POLICY = "GuardrailPolicy"
"""The kind."""

Policies = Mapping[ResourceKey, GuardrailPolicySpec]


def policies_of(resources: Iterable[Resource]) -> dict[ResourceKey, GuardrailPolicySpec]:
    """The policies among resources."""
    return {resource.key: resource.spec for resource in resources if isinstance(resource.spec, GuardrailPolicySpec)}


def with_policies(resource: Resource, policies: Policies) -> Resource:
    """Writes the rules of the policies that an agent names into it; everything else is returned as it is. A policy that
    is not there, or has come to hold rules that cannot stand where it is named, leaves what was written in."""
    spec = resource.spec
    if not isinstance(spec, AgentSpec) or next(uses(spec), None) is None:
        return resource
    changed = {
        stage: tuple(_filled(it, stage, resource.namespace, policies) for it in _at(spec, stage)) for stage in STAGES
    }
    guardrails = spec.guardrails.model_copy(update=changed)
    return resource.with_spec(spec.model_copy(update={"guardrails": guardrails}))


def uses(agent: AgentSpec) -> Iterator[tuple[Path, str, PolicyUse]]:
    """Where an agent names policies, and at which stage."""
    for stage in STAGES:
        for index, listed in enumerate(_at(agent, stage)):
            if isinstance(listed, PolicyUse):
                yield ("guardrails", stage, index, "policy"), stage, listed


def misfits(stage: str, policy: GuardrailPolicySpec) -> list[str]:
    """The rules of a policy, by type, that cannot stand at a stage."""
    return [rule.type for rule in policy.rules if not _fits(stage, rule.to_json())]


def _fits(stage: str, rule_json: str) -> bool:
    try:
        GuardrailsSpec.model_validate_json(orjson.dumps({stage: [orjson.Fragment(rule_json)]}))
    except ValidationError:
        return False
    return True


def _filled(listed: object, stage: str, namespace: str, policies: Policies) -> object:
    if not isinstance(listed, PolicyUse):
        return listed
    policy = policies.get(refer(POLICY, listed.policy, namespace))
    if policy is None or misfits(stage, policy):
        return listed
    return listed.model_copy(update={"rules": policy.rules, "tried_out": policy.dry_run})


def _at(agent: AgentSpec, stage: str) -> tuple[object, ...]:
    return agent.guardrails.at(stage)
