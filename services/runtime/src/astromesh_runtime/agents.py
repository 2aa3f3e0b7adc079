"""Agents as the data plane runs them: looked up by name for new runs and by hash for stored ones, compiled once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from astromesh.v1.tools_pb2 import DescribeToolsRequest, DescribeToolsResponse
from astromesh.v1.values_pb2 import ResourceRef, ToolSpec
from astromesh_core.bus.resource_store import ResourceStore
from astromesh_core.errors import NotFound, NotSupported, Unavailable
from astromesh_core.events.canonical import catalogue_sha256
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.agent_memory import Scope
from astromesh_core.resources.agent_tools import DISCOVERED
from astromesh_core.resources.budgets import Allowance
from astromesh_core.resources.guardrail_costs import CostLimit
from astromesh_core.resources.guardrail_meaning import Grounding
from astromesh_core.resources.guardrail_streaming import held_back
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_core.resources.tool_output import tells_of_others
from astromesh_core.resources.tool_permissions import Permits
from astromesh_runtime.controls import Controls, controls_of
from astromesh_runtime.cost_limits import CostLimits
from astromesh_runtime.patterns.catalogue import newest
from astromesh_runtime.prompts import Prompt, compile_prompt

if TYPE_CHECKING:
    from astromesh.v1.tools_pb2_grpc import ToolsServiceAsyncStub

KEPT_VERSIONS = 256
"""Agent versions held compiled; older ones are compiled again when a stored run needs them."""

DESCRIBE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class KnowledgeSource:
    """The pipeline asked at the start of every run."""

    namespace: str
    pipeline: str
    top_k: int


@dataclass(frozen=True, slots=True)
class GuardsOfAgent:
    """What stands between an agent's runs, their tools and their callers, beside the checks of question and answer."""

    checks_tool_arguments: bool
    checks_tool_results: bool
    marks_data: bool
    """What others wrote is marked where a model reads it."""
    streams_checked: bool
    """The answer is told while it is written, as its rules leave it."""
    masks: bool
    unmasked_tools: tuple[str, ...]
    grounds: bool
    """An output rule asks what was retrieved."""
    costs: CostLimits


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """One version of an agent, ready to run."""

    ref: ResourceRef
    pattern: str
    pattern_version: int
    pattern_options_json: str
    """Empty where the pattern has none."""
    max_iterations: int
    timeout_seconds: float
    """0: none."""
    prompt: Prompt
    tools: tuple[ToolSpec, ...]
    tools_sha256: bytes
    is_offered_tools: bool
    """Others offer it some of its tools, which are known when they are asked: as each run begins."""
    checks_input: bool
    checks_output: bool
    remembers: bool
    """The turn of each run is stored for conversation or semantic memory."""
    conversational: bool
    semantic: Scope | None
    episodic: Scope | None
    recalls_or_fails: bool
    """A run fails where its session cannot be recalled; else it goes on without and says so."""
    continues_without: bool
    """A run goes on where what it would be told of earlier ones cannot be had."""
    knowledge: KnowledgeSource | None
    output_schema_json: str
    """What its answers have to match; empty: free text."""
    allowance: Allowance | None
    """Of each run: what its own budget allows it and the runs below it."""
    permits: Permits | None
    """None: every call of every tool is permitted."""
    guards: GuardsOfAgent
    controls: Mapping[str, Controls]
    """Of tools that ask a human, or that can be looked up or undone; of most agents none."""

    def with_tool(self, tool: ToolSpec) -> AgentVersion:
        """The same with one tool more."""
        tools = (*self.tools, tool)
        return replace(self, tools=tools, tools_sha256=catalogue_sha256(tools))


class ToolsAway(Unavailable):
    """Somebody does not offer their tools without whom no run of this agent begins."""


class Agents:
    """Agent versions by name and by hash. `watch` keeps the names up to date, so that a run asks nobody."""

    def __init__(self, resources: ResourceStore, tools: ToolsServiceAsyncStub) -> None:
        self._resources = resources
        self._tools = tools
        self._current: dict[tuple[str, str], ResourceRef] = {}
        # By name too: equal specs have one hash, and what a spec refers to depends on its namespace.
        self._versions: OrderedDict[tuple[str, str, bytes], AgentVersion] = OrderedDict()

    async def watch(self) -> None:
        """Follows the agents' resources; ends when cancelled."""
        async with aclosing(self._resources.watch()) as changes:
            async for change in changes:
                if change.kind != "Agent":
                    continue
                key = (change.namespace, change.name)
                if change.record is None:
                    self._current.pop(key, None)
                else:
                    self._current[key] = change.record.ref

    async def current(self, namespace: str, name: str) -> AgentVersion:
        """The agent's newest version. Raises NotFound, NotSupported where it uses what is not built, ToolsAway."""
        ref = self._current.get((namespace, name))
        if ref is None:
            # It may be younger than what the watch has told.
            record = await self._resources.get("Agent", namespace, name)
            if record is None:
                raise NotFound(f"there is no agent {name!r} in namespace {namespace!r}")
            ref = record.ref
        return await self.beginning(ref)

    async def beginning(self, ref: ResourceRef) -> AgentVersion:
        """The version with this hash as a run begins with it: with what others offer now. Raises ToolsAway."""
        version = await self.by_ref(ref)
        return await self._with_offered_tools(version) if version.is_offered_tools else version

    async def by_ref(self, ref: ResourceRef) -> AgentVersion:
        """The version with this hash, however old; without the tools that others offer it at the moment."""
        key = (ref.namespace, ref.name, ref.sha256)
        known = self._versions.get(key)
        if known is not None:
            self._versions.move_to_end(key)
            return known
        spec = _read(ref, await self._resources.by_hash(ref))
        is_offered_tools = any(tool.type in DISCOVERED for tool in spec.tools)
        tools = () if is_offered_tools else tuple((await self._described(ref)).tools)
        version = _compile(ref, spec, tools, is_offered_tools=is_offered_tools)
        self._versions[key] = version
        if len(self._versions) > KEPT_VERSIONS:
            self._versions.popitem(last=False)
        return version

    async def _with_offered_tools(self, version: AgentVersion) -> AgentVersion:
        """The version with the tools that its servers offer now: each run keeps those that it began with."""
        described = await self._described(version.ref)
        away = [source.message for source in described.sources if source.required and not source.connected]
        if away:
            raise ToolsAway("; ".join(away))
        tools = tuple(described.tools)
        return replace(version, tools=tools, tools_sha256=catalogue_sha256(tools))

    async def _described(self, ref: ResourceRef) -> DescribeToolsResponse:
        return await self._tools.DescribeTools(DescribeToolsRequest(agent=ref), timeout=DESCRIBE_SECONDS)


def _read(ref: ResourceRef, spec_json: str) -> AgentSpec:
    try:
        return AgentSpec.from_json(spec_json)
    except ValidationError as error:
        raise NotSupported(f"this release cannot read the stored version of agent {ref.name!r}: {error}") from error


def _compile(ref: ResourceRef, spec: AgentSpec, tools: tuple[ToolSpec, ...], *, is_offered_tools: bool) -> AgentVersion:
    pattern = spec.orchestration.pattern
    version = newest(pattern)
    if version is None:
        raise NotSupported(f"agent {ref.name!r}: spec.orchestration.pattern {pattern!r} is not built in this release")
    return AgentVersion(
        ref=ref,
        pattern=pattern,
        pattern_version=version,
        pattern_options_json=spec.orchestration.options_json,
        max_iterations=spec.orchestration.max_iterations,
        timeout_seconds=spec.orchestration.timeout_seconds or 0.0,
        prompt=compile_prompt(spec.prompts.system),
        tools=tools,
        tools_sha256=catalogue_sha256(tools),
        is_offered_tools=is_offered_tools,
        checks_input=_checks(spec.guardrails, "input"),
        checks_output=_checks(spec.guardrails, "output"),
        remembers=spec.memory.conversational is not None or spec.memory.semantic is not None,
        conversational=spec.memory.conversational is not None,
        semantic=spec.memory.semantic.scope if spec.memory.semantic is not None else None,
        episodic=spec.memory.episodic.scope if spec.memory.episodic is not None else None,
        recalls_or_fails=spec.memory.conversational is None or spec.memory.conversational.on_unavailable == "fail",
        continues_without=_continues_without(spec),
        knowledge=_knowledge(ref, spec),
        output_schema_json=spec.output_schema or "",
        allowance=spec.budget.per_run if spec.budget is not None else None,
        permits=Permits(spec.permissions) if spec.permissions is not None else None,
        controls=controls_of(spec),
        guards=_guards(spec),
    )


def _guards(spec: AgentSpec) -> GuardsOfAgent:
    rules = spec.guardrails
    return GuardsOfAgent(
        checks_tool_arguments=bool(rules.tool_arguments),
        checks_tool_results=bool(rules.tool_results),
        marks_data=rules.mark_data and (spec.knowledge is not None or any(map(tells_of_others, spec.tools))),
        streams_checked=_checks(rules, "output") and next(held_back(rules), None) is None,
        masks=rules.masks,
        unmasked_tools=tuple(sorted(rules.unmasked_tools)),
        grounds=any(isinstance(rule, Grounding) for _, rule, _, _ in rules.rules("output")),
        costs=CostLimits(rules),
    )


def _checks(rules: GuardrailsSpec, stage: str) -> bool:
    """Whether a rule judges the text of a stage; what a run may cost is judged elsewhere."""
    return any(not isinstance(rule, CostLimit) for _, rule, _, _ in rules.rules(stage))


def _continues_without(spec: AgentSpec) -> bool:
    declared = [memory for memory in (spec.memory.semantic, spec.memory.episodic) if memory is not None]
    return all(memory.on_unavailable == "continue" for memory in declared)


def _knowledge(ref: ResourceRef, spec: AgentSpec) -> KnowledgeSource | None:
    if spec.knowledge is None:
        return None
    namespace, _, name = spec.knowledge.pipeline.rpartition("/")
    return KnowledgeSource(namespace or ref.namespace, name, spec.knowledge.top_k or 0)
