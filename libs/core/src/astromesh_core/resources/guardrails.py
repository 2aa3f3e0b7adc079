"""An agent's guardrails: which rules stand at which stage, of its own and of shared policies. The rules themselves
stand in `guardrail_rules`; applying them is the guardrails service's.

input             the question, before anything else happens
tool_arguments    what a model wants to call a tool with, before the call is intended
tool_results      what a tool answered or a pipeline found, before a model reads it
output            the answer, before anybody reads it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.guardrail_rules import AnyTextRule, InputRule, OutputRule, PiiDetection, Rule
from astromesh_core.resources.references import Reference
from astromesh_core.resources.spelling import Items, Spec, is_mapping

STAGES: Final = ("input", "tool_arguments", "tool_results", "output")
MASKED_STAGES: Final = frozenset(("input", "tool_results"))
"""Where masking makes sense: in front of a model."""

_ELSEWHERE: Final = {"grounding": "output", "cost_limit": "input and output"}
"""The rules that do not stand at every stage, with those at which they do."""

_Rule = Annotated[Rule, Field(discriminator="type")]


class PolicyUse(Spec):
    """The rules of a shared policy, at the place where it is named."""

    type: Literal["shared_policy"]
    policy: Reference
    dry_run: bool = False
    """Its verdicts are recorded, and nothing else comes of them."""
    rules: Items[_Rule] = ()
    """Those of the policy, as it stood when the agent was stored: filled in by the mesh, whatever a file says here."""
    tried_out: bool = False
    """What the policy says of a dry run; filled in by the mesh as well."""


def _named(value: object) -> object:
    """`{policy: NAME}` is short for a rule of type shared_policy."""
    if is_mapping(value) and "policy" in value and "type" not in value:
        return {**value, "type": "shared_policy"}
    return value


def _without(*kinds: str) -> Callable[[object], object]:
    def named(value: object) -> object:
        if is_mapping(value) and (kind := value.get("type")) in kinds:
            context = {"kind": str(kind), "hint": f"it stands in {_ELSEWHERE[str(kind)]}"}
            raise PydanticCustomError("stage", "is of type {kind}, which means nothing at this stage", context)
        return _named(value)

    return named


Listed: TypeAlias = Rule | PolicyUse
"""A rule of the agent's own, or the rules of a shared policy."""

_OnInput = Annotated[
    Annotated[InputRule | PolicyUse, Field(discriminator="type")], BeforeValidator(_without("grounding"))
]
_OnTools = Annotated[
    Annotated[AnyTextRule | PolicyUse, Field(discriminator="type")],
    BeforeValidator(_without("grounding", "cost_limit")),
]
_OnOutput = Annotated[Annotated[OutputRule | PolicyUse, Field(discriminator="type")], BeforeValidator(_named)]


class GuardrailPolicySpec(Spec):
    """Rules that agents share under a name."""

    description: str = ""
    dry_run: bool = False
    """Its verdicts are recorded wherever it is used, and nothing else comes of them."""
    rules: Items[_Rule] = Field(min_length=1)
    """In the order in which they are applied."""


class GuardrailsSpec(Spec):
    """Rules by stage, in the order in which they are applied."""

    input: Items[_OnInput] = ()
    tool_arguments: Items[_OnTools] = ()
    tool_results: Items[_OnTools] = ()
    output: Items[_OnOutput] = ()
    dry_run: bool = False
    """All verdicts are recorded, and nothing else comes of any."""
    mark_data: bool = True
    """What tools and pipelines found is marked as data where a model reads it."""

    @field_validator("tool_arguments", "output", mode="after")
    @classmethod
    def _masks_nothing(cls, listed: tuple[Listed, ...]) -> tuple[Listed, ...]:
        if any(masks(rule) for rule in listed):
            raise PydanticCustomError(
                "mask",
                "masks what no model reads any more",
                {"hint": "mask in input and tool_results; in the answer tokens are undone"},
            )
        return listed

    def at(self, stage: str) -> tuple[Listed, ...]:
        """What is declared for a stage of STAGES."""
        found: tuple[Listed, ...] = getattr(self, stage)
        return found

    def rules(self, stage: str) -> Iterator[tuple[str, Rule, str, bool]]:
        """The rules of a stage in their order: where each stands, the rule, its policy's name or "", and whether it is
        tried out alone."""
        for index, listed in enumerate(self.at(stage)):
            place = f"guardrails.{stage}[{index}]"
            if not isinstance(listed, PolicyUse):
                yield place, listed, "", self.dry_run
                continue
            for inner, rule in enumerate(listed.rules):
                dry_run = self.dry_run or listed.dry_run or listed.tried_out
                yield f"{place}.rules[{inner}]", rule, listed.policy, dry_run

    @property
    def is_empty(self) -> bool:
        """Whether no rule stands anywhere."""
        return not any(self.at(stage) for stage in STAGES)

    @property
    def masks(self) -> bool:
        """Whether personal data is masked before a model reads it."""
        return any(masks(rule) and not dry for stage in STAGES for _, rule, _, dry in self.rules(stage))

    @property
    def unmasked_tools(self) -> frozenset[str]:
        """The tools that get what masks stand for."""
        rules = [rule for stage in STAGES for _, rule, _, _ in self.rules(stage)]
        return frozenset(name for rule in rules if isinstance(rule, PiiDetection) for name in rule.restore_in)


def masks(rule: Listed) -> bool:
    """Whether a rule masks what it finds."""
    if isinstance(rule, PolicyUse):
        return any(masks(inner) for inner in rule.rules)
    return isinstance(rule, PiiDetection) and rule.action == "mask"
