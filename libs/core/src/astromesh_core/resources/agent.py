"""The Agent: what it is told, which models, tools, memory and rules it has. Details stand in modules of their own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.agent_memory import MemorySpec
from astromesh_core.resources.agent_tools import Tool
from astromesh_core.resources.budgets import Budget
from astromesh_core.resources.candidates import ModelSpec
from astromesh_core.resources.guardrail_rules import GuardrailsSpec
from astromesh_core.resources.references import Reference
from astromesh_core.resources.spelling import Items, Spec, spelled

PatternName = Literal["react", "plan_and_execute", "parallel_fan_out", "pipeline", "supervisor", "swarm"]


class Identity(Spec):
    """How people see the agent."""

    display_name: str = ""
    description: str = ""
    avatar: str = ""


class Prompts(Spec):
    """Jinja2 texts, rendered in a sandbox for every run."""

    system: str = ""


class Orchestration(Spec):
    """How the agent works: its pattern and the bounds of one run."""

    pattern: PatternName = "react"
    max_iterations: int = Field(default=10, ge=1, le=1000)
    timeout_seconds: float | None = Field(default=None, gt=0, validation_alias=spelled("timeout_seconds", "timeout"))


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
    memory: MemorySpec = MemorySpec()
    knowledge: Knowledge | None = None
    guardrails: GuardrailsSpec = GuardrailsSpec()
    budget: Budget | None = None
    output_schema: dict[str, JsonValue] | None = None
    """JSON Schema (draft 2020-12) that every answer has to match."""

    @field_validator("tools", mode="after")
    @classmethod
    def _tool_names_are_unique(cls, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        names = [tool.name for tool in tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise PydanticCustomError("tools", "has two tools named {name}", {"name": repr(twice)})
        return tools
