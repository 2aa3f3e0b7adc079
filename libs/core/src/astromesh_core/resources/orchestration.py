"""How an agent works: its pattern, the bounds of one run, and the options that each pattern has of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

import orjson
from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from astromesh_core.resources.references import Name
from astromesh_core.resources.spelling import Items, Spec, spelled
from astromesh_core.resources.yaml_documents import Path

PatternName = Literal["react", "plan_and_execute", "parallel_fan_out", "pipeline", "supervisor", "swarm"]

OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "plan_and_execute": ("max_steps", "max_replans"),
    "pipeline": ("stages",),
    "parallel_fan_out": ("branches", "join", "quorum", "branch_timeout_seconds"),
    "supervisor": ("workers", "max_reviews"),
    "swarm": ("agents", "max_handoffs"),
}
"""Which fields belong to which pattern."""


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _agent(value: object) -> object:
    return {"agent": value} if isinstance(value, str) else value


class Part(Spec):
    """One stage of a pipeline, or one branch of a fan-out: a model with a prompt of its own, or another agent."""

    name: str = Field(min_length=1, max_length=40)
    prompt: str = Field(default="", max_length=20_000)
    """What the model is told beside the agent's system prompt."""
    role: Name | None = None
    """Of `model.roles`. None: the agent's default model."""
    agent: Name | None = None
    """Runs this agent instead of a model of this one."""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.agent is not None and (self.prompt or self.role is not None):
            hint = "its own prompt and models are declared with the agent"
            raise PydanticCustomError("part", "names an agent, and a prompt or a role", {"hint": hint})
        return self


class Worker(Spec):
    """An agent that a supervisor may ask."""

    agent: Name
    description: str = ""
    """When to ask it. Empty: what its own file says of it is not known to the model."""


Parts = Items[Annotated[Part, BeforeValidator(_named)]]
Workers = Items[Annotated[Worker, BeforeValidator(_agent)]]

STAGES: Final = (Part(name="analyze"), Part(name="process"), Part(name="synthesize"))
BRANCHES: Final = (Part(name="first"), Part(name="second"), Part(name="third"))


class Orchestration(Spec):
    """How the agent works: its pattern and the bounds of one run."""

    pattern: PatternName = "react"
    max_iterations: int = Field(default=10, ge=1, le=1000)
    timeout_seconds: float | None = Field(default=None, gt=0, validation_alias=spelled("timeout_seconds", "timeout"))
    max_steps: int = Field(default=8, ge=1, le=50)
    """Of a plan."""
    max_replans: int = Field(default=2, ge=0, le=20)
    stages: Parts = Field(default=STAGES, min_length=1, max_length=20)
    branches: Parts = Field(default=BRANCHES, min_length=2, max_length=16)
    join: Literal["synthesis", "vote", "best_of"] = "synthesis"
    quorum: int | None = Field(default=None, ge=1, le=16)
    """Branches that have to answer. None: more than half."""
    branch_timeout_seconds: float | None = Field(
        default=None, gt=0, validation_alias=spelled("branch_timeout_seconds", "branch_timeout")
    )
    """Of each call of a branch; what has not answered by then is left out."""
    workers: Workers = Field(default=(), max_length=32)
    max_reviews: int = Field(default=1, ge=0, le=10)
    """How often a supervisor looks over its answer before it gives it."""
    agents: Workers = Field(default=(), max_length=32)
    max_handoffs: int = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _has_the_options_of_its_pattern(self) -> Self:
        for pattern, names in OPTIONS.items():
            given = [name for name in names if name in self.model_fields_set]
            if given and pattern != self.pattern:
                context = {"name": given[0], "owner": pattern, "own": self.pattern}
                raise PydanticCustomError("option", "has {name}, an option of {owner} and not of {own}", context)
        for name in ("stages", "branches"):
            names = [part.name for part in getattr(self, name)]
            twice = next((each for each in names if names.count(each) > 1), None)
            if twice is not None:
                raise PydanticCustomError("option", "has two {kind} named {name}", {"kind": name, "name": repr(twice)})
        if self.quorum is not None and self.quorum > len(self.branches):
            context = {"quorum": self.quorum, "branches": len(self.branches)}
            raise PydanticCustomError("quorum", "asks for {quorum} answers of {branches} branches", context)
        return self

    @model_serializer(mode="wrap")
    def _without_foreign_options(self, serialize: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        """What belongs to another pattern is left out: it was not said, and would be refused when it is read back."""
        foreign = {name for pattern, names in OPTIONS.items() if pattern != self.pattern for name in names}
        whole: dict[str, JsonValue] = serialize(self)
        return {name: value for name, value in whole.items() if name not in foreign}

    @property
    def options_json(self) -> str:
        """The options of its pattern, as a run pins them; empty where it has none."""
        names = OPTIONS.get(self.pattern)
        if names is None:
            return ""
        return orjson.dumps(self.model_dump(mode="json", include=set(names)), option=orjson.OPT_SORT_KEYS).decode()

    def parts(self) -> Iterator[tuple[Path, Part]]:
        """The stages or branches of its pattern, each with its place."""
        for field in ("stages", "branches"):
            if field in OPTIONS.get(self.pattern, ()):
                yield from (((field, index), part) for index, part in enumerate(getattr(self, field)))

    def asked(self) -> Iterator[tuple[Path, str]]:
        """The agents that it names, each with its place."""
        yield from (((*path, "agent"), part.agent) for path, part in self.parts() if part.agent is not None)
        for field in ("workers", "agents"):
            if field in OPTIONS.get(self.pattern, ()):
                yield from (((field, index, "agent"), each.agent) for index, each in enumerate(getattr(self, field)))
