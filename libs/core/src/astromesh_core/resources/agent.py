"""The Agent: what it is told, which models, tools, memory and rules it has. Details stand in modules of their own."""

from __future__ import annotations

from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.agent_memory import MemorySpec
from astromesh_core.resources.agent_schedules import AgentSchedule
from astromesh_core.resources.agent_tools import DISCOVERED, AgentTool, Tool
from astromesh_core.resources.answer_schemas import AnswerSchemaText
from astromesh_core.resources.budgets import Budget
from astromesh_core.resources.candidates import ModelSpec
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_core.resources.orchestration import Orchestration
from astromesh_core.resources.references import Reference
from astromesh_core.resources.spelling import Items, Spec
from astromesh_core.resources.tool_permissions import ToolPermissions
from astromesh_core.resources.tool_recovery import check_recovery


class Identity(Spec):
    """How people see the agent."""

    display_name: str = ""
    description: str = ""
    avatar: str = ""


class Prompts(Spec):
    """Jinja2 texts, rendered in a sandbox for every run."""

    system: str = ""


class Knowledge(Spec):
    """A pipeline whose passages are put before the model at the start of every run."""

    pipeline: Reference
    top_k: int | None = Field(default=None, ge=1, le=100)
    """None: the pipeline's own."""


class AgentSpec(Spec):
    """An agent as it was declared."""

    identity: Identity = Identity()
    model: ModelSpec
    prompts: Prompts = Prompts()
    orchestration: Orchestration = Orchestration()
    tools: Items[Tool] = ()
    permissions: ToolPermissions | None = None
    """None: every caller's runs may call every tool."""
    memory: MemorySpec = MemorySpec()
    knowledge: Knowledge | None = None
    guardrails: GuardrailsSpec = GuardrailsSpec()
    budget: Budget | None = None
    schedules: Items[AgentSchedule] = ()
    """When it is asked by nobody."""
    output_schema: AnswerSchemaText | None = None
    """JSON Schema (draft 2020-12) that every answer has to match, unless a request brings its own."""

    @field_validator("schedules", mode="after")
    @classmethod
    def _schedule_names_are_unique(cls, schedules: tuple[AgentSchedule, ...]) -> tuple[AgentSchedule, ...]:
        names = [schedule.name for schedule in schedules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise PydanticCustomError("schedules", "has two schedules named {name}", {"name": repr(twice)})
        return schedules

    @field_validator("tools", mode="after")
    @classmethod
    def _tool_names_are_unique(cls, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        names = [tool.name for tool in tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise PydanticCustomError("tools", "has two tools named {name}", {"name": repr(twice)})
        effects = {tool.name: getattr(tool, "effect", None) for tool in tools}
        cached = [tool.name for tool in tools if tool.cache is not None]
        complete = not any(tool.type in DISCOVERED for tool in tools)
        for tool in tools:
            check_recovery(tool.name, tool.reconcile, tool.compensate, effects, cached=cached, complete=complete)
        return tools

    @property
    def offered(self) -> tuple[Tool, ...]:
        """Its tools, and the workers of a supervisor, which it asks as tools of their agents' names."""
        workers = self.orchestration.workers if self.orchestration.pattern == "supervisor" else ()
        asked = (
            AgentTool(name=each.agent, type="agent", agent=each.agent, description=each.description) for each in workers
        )
        return (*self.tools, *asked)

    @model_validator(mode="after")
    def _has_what_its_pattern_asks_for(self) -> Self:
        for (field, index), part in self.orchestration.parts():
            if part.role is not None and part.role not in self.model.roles:
                context = {"place": f"{field}[{index}]", "role": part.role, "hint": "name its models in model.roles"}
                raise PydanticCustomError("role", "asks in {place} for the role {role}, which has no models", context)
        names = [tool.name for tool in self.offered]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            context = {"name": repr(twice), "hint": "a worker is a tool of its agent's name"}
            raise PydanticCustomError("tools", "has two tools named {name}", context)
        return self

    @field_validator("permissions", mode="after")
    @classmethod
    def _are_about_tools_that_there_are(
        cls, permissions: ToolPermissions | None, info: ValidationInfo
    ) -> ToolPermissions | None:
        tools: tuple[Tool, ...] = info.data.get("tools", ())
        # What a server offers is known when it is asked.
        if permissions is not None and "tools" in info.data and not any(tool.type in DISCOVERED for tool in tools):
            orchestration: Orchestration | None = info.data.get("orchestration")
            workers = [each.agent for each in orchestration.workers] if orchestration is not None else []
            permissions.check_names([*(tool.name for tool in tools), *workers])
        return permissions
