"""Checks across resources: does each reference lead somewhere, do dimensions agree, is every name given once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic_core import PydanticCustomError

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_cycles import cycles
from astromesh_core.resources.agent_tools import AgentTool, RagTool
from astromesh_core.resources.candidates import Candidate, target_of
from astromesh_core.resources.channel import ChannelSpec
from astromesh_core.resources.policies import POLICY, misfits, policies_of, uses
from astromesh_core.resources.problems import Problem, did_you_mean
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.references import ResourceKey, refer
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.resources.vendors import check_address, is_custom, vendor_of
from astromesh_core.resources.yaml_documents import Path

Link = tuple[Path, str, str]
"""Where a reference stands, the kind that it names, and what it says."""


def check(resources: Iterable[Resource]) -> list[Problem]:
    """Lists what is wrong among resources that are each valid by themselves. `Problem.resource` names the one to mend.

    Codes: DuplicateName, UnknownProvider, UnknownPipeline, UnknownAgent, DimensionMismatch, DuplicateKey, UnknownKey,
    DuplicateBudget, UnpricedModel, ProviderMismatch, AgentCycle, UnknownGuardrailPolicy, MisplacedPolicy. A duplicate
    is a problem of every one but the first.
    """
    given = list(resources)
    known = {resource.key for resource in given}
    problems: list[Problem] = [*_duplicates(given), *_budgets(given), *_unpriced(given), *_mismatched(given)]
    problems += _misplaced(given)
    agents = {
        resource.key: [(path, refer(kind, name, resource.namespace)) for path, kind, name in links(resource)]
        for resource in given
        if isinstance(resource.spec, AgentSpec)
    }
    for key, path, way in cycles(agents):
        resource = next(each for each in given if each.key == key)
        reason = f"would run itself: {' > '.join(each.name for each in way)}"
        problems.append(_problem(resource, path, "AgentCycle", reason, "no agent may stand below itself"))
    for resource in given:
        for path, kind, reference in links(resource):
            if refer(kind, reference, resource.namespace) not in known:
                problems.append(_unknown(resource, path, kind, reference, known))
        problems.extend(_own(resource))
    return problems


def links(resource: Resource) -> Iterator[Link]:
    """Lists the references of a resource to others."""
    spec = resource.spec
    if isinstance(spec, AgentSpec):
        yield from _of_agent(spec)
    elif isinstance(spec, ChannelSpec) and spec.default_agent is not None:
        yield ("default_agent",), "Agent", spec.default_agent


def _of_agent(spec: AgentSpec) -> Iterator[Link]:
    for place, candidate in spec.model.everywhere():
        if candidate.provider_ref is not None:
            yield ("model", *place, "provider_ref"), "Provider", candidate.provider_ref
    for index, tool in enumerate(spec.tools):
        if isinstance(tool, RagTool):
            yield ("tools", index, "pipeline"), "RAGPipeline", tool.pipeline
        elif isinstance(tool, AgentTool):
            yield ("tools", index, "agent"), "Agent", tool.agent
    for place, name in spec.orchestration.asked():
        yield ("orchestration", *place), "Agent", name
    if spec.knowledge is not None:
        yield ("knowledge", "pipeline"), "RAGPipeline", spec.knowledge.pipeline
    for path, _, use in uses(spec):
        yield path, POLICY, use.policy


def _duplicates(given: list[Resource]) -> Iterator[Problem]:
    first: dict[ResourceKey, Resource] = {}
    for resource in given:
        other = first.setdefault(resource.key, resource)
        if other is not resource:
            place, line = (other.origin.file, other.locate(())[2]) if other.origin else (other.managed_by, 0)
            where = f"{place}:{line}" if line else place
            yield _problem(resource, (), "DuplicateName", f"{resource.key} exists already, in {where}", "rename one")


def _unknown(resource: Resource, path: Path, kind: str, reference: str, known: set[ResourceKey]) -> Problem:
    wanted = refer(kind, reference, resource.namespace)
    elsewhere = sorted(f"{key.namespace}/{key.name}" for key in known if key.kind == kind and key.name == wanted.name)
    names = [key.name for key in known if key.kind == kind and key.namespace == wanted.namespace]
    hint = f"in another namespace: write {elsewhere[0]}" if elsewhere else did_you_mean(wanted.name, names)
    code = {"RAGPipeline": "UnknownPipeline"}.get(kind, f"Unknown{kind}")
    return _problem(resource, path, code, f"there is no {wanted}", hint)


def _budgets(given: list[Resource]) -> Iterator[Problem]:
    """Each budget has a scope that exists, and is the only one with it."""
    configs = [(resource, resource.spec) for resource in given if isinstance(resource.spec, RuntimeConfigSpec)]
    keys = [key.name for _, config in configs for key in config.api_keys]
    taken: set[tuple[str | None, str | None]] = set()
    for resource, config in configs:
        for index, budget in enumerate(config.budgets):
            field, name = ("api_key", budget.api_key) if budget.api_key else ("namespace", budget.namespace)
            path: Path = ("budgets", index, field)
            if budget.api_key is not None and budget.api_key not in keys:
                # Not quoted: somebody may have written the key itself.
                hint = did_you_mean(budget.api_key, keys) or "write the name that a key has in api_keys"
                yield _problem(resource, path, "UnknownKey", "names none of api_keys", hint)
            if (field, name) in taken:
                yield _problem(resource, path, "DuplicateBudget", f"{name} has a budget already", "put both into one")
            taken.add((field, name))


def _unpriced(given: list[Resource]) -> Iterator[Problem]:
    """A budget of an agent that counts money has models to count: each of them has a price."""
    for resource, path, candidate, provider in _candidates(given):
        assert isinstance(resource.spec, AgentSpec)
        if resource.spec.budget is None or not resource.spec.budget.counts_money:
            continue
        target = target_of(candidate, provider)
        # A user's own class tells its price itself.
        if not target.priced and not is_custom(target.provider):
            reason = f"nobody knows what {target.model} costs, and the agent's budget counts money"
            hint = "declare cost_per_1k_tokens, 0 where it is free"
            yield _problem(resource, path, "UnpricedModel", reason, hint)


def _mismatched(given: list[Resource]) -> Iterator[Problem]:
    """What a candidate adds to the Provider that it refers to is read by a provider of that type."""
    for resource, path, candidate, provider in _candidates(given):
        if provider is None:
            continue
        endpoint = candidate.endpoint or provider.endpoint
        try:
            check_address(provider.type, endpoint, candidate.api_version, has_key=candidate.has_key)
        except PydanticCustomError as error:
            hint = str((error.context or {}).get("hint", ""))
            yield _problem(resource, path, "ProviderMismatch", error.message(), hint)
        taken = vendor_of(provider.type).parameters
        for name in sorted(candidate.parameters.keys() - taken) if taken is not None else ():
            reason = f"is nothing that {provider.type} takes"
            yield _problem(resource, (*path, "parameters", name), "ProviderMismatch", reason, "remove it")


def _candidates(given: list[Resource]) -> Iterator[tuple[Resource, Path, Candidate, ProviderSpec | None]]:
    """The candidates of all agents, each with its place and its Provider. One whose Provider is not there is left out:
    that is said elsewhere."""
    providers = {resource.key: resource.spec for resource in given if isinstance(resource.spec, ProviderSpec)}
    for resource in given:
        if not isinstance(resource.spec, AgentSpec):
            continue
        for place, candidate in resource.spec.model.everywhere():
            reference = candidate.provider_ref
            provider = providers.get(refer("Provider", reference, resource.namespace)) if reference else None
            if provider is not None or not reference:
                yield resource, ("model", *place), candidate, provider


def _misplaced(given: list[Resource]) -> Iterator[Problem]:
    """A policy stands only where each of its rules can."""
    policies = policies_of(given)
    for resource in given:
        if not isinstance(resource.spec, AgentSpec):
            continue
        for path, stage, use in uses(resource.spec):
            policy = policies.get(refer(POLICY, use.policy, resource.namespace))
            if policy is not None and (types := misfits(stage, policy)):
                reason = f"has rules that cannot stand at {stage}: {', '.join(types)}"
                yield _problem(resource, path, "MisplacedPolicy", reason, "name it where they can, or split it")


def _own(resource: Resource) -> Iterator[Problem]:
    if isinstance(resource.spec, RAGPipelineSpec):
        yield from _dimensions(resource, resource.spec)
    if isinstance(resource.spec, RuntimeConfigSpec):
        names: set[str] = set()
        for index, key in enumerate(resource.spec.api_keys):
            if key.name in names:
                yield _problem(resource, ("api_keys", index, "name"), "DuplicateKey", f"{key.name} is given twice")
            names.add(key.name)


def _dimensions(resource: Resource, pipeline: RAGPipelineSpec) -> Iterator[Problem]:
    embeddings, store = pipeline.embeddings, pipeline.vector_store
    actual = embeddings.known_dimension
    if actual is not None and embeddings.dimension not in (None, actual):
        reason = f"{embeddings.model} makes vectors of {actual} dimensions, not {embeddings.dimension}"
        yield _problem(resource, ("embeddings", "dimension"), "DimensionMismatch", reason, f"write {actual}")
    expected = actual or embeddings.dimension
    if expected is not None and store.dimensions not in (None, expected):
        reason = f"the store has {store.dimensions} dimensions, the embeddings have {expected}"
        yield _problem(resource, ("vector_store", "dimensions"), "DimensionMismatch", reason, f"write {expected}")


def _problem(resource: Resource, path: Path, code: str, reason: str, hint: str = "") -> Problem:
    file, written, line = resource.locate(path)
    return Problem(file, line, written, reason, hint, code, str(resource.key))
