"""The guardrail `cost_limit`: whether a run may make one more call of a model. Pure; the runtime asks before each call.

What a turn has used is on its own bill; a run has used what its children did, too. What the next call takes is what it
sends, priced as the calls before it. The router, which knows prices, is told the bounds of money, too, and refuses what
may lead beyond them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from astromesh.v1.router_pb2 import Inherited
from astromesh.v1.values_pb2 import (
    VERDICT_ACTION_ALLOW,
    VERDICT_ACTION_BLOCK,
    VERDICT_ACTION_WARN,
    Finding,
    ResourceRef,
    Verdict,
    VerdictAction,
)
from astromesh_core.resources.guardrail_costs import CostLimit
from astromesh_core.resources.guardrails import STAGES, GuardrailsSpec

NAME: Final = "cost_limit"
NANOS: Final = 1_000_000_000
Unit: TypeAlias = Literal["tokens", "usd"]


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens, and 1e-9 US dollars."""

    tokens: int = 0
    usd: int = 0

    def of(self, unit: Unit) -> int:
        """In this unit."""
        return self.tokens if unit == "tokens" else self.usd

    def priced(self, tokens: int) -> Used:
        """What so many tokens more cost where they cost as much as these did; nothing where there are none."""
        return Used(tokens, self.usd * tokens // self.tokens if self.tokens else 0)


class Bound(NamedTuple):
    """One bound of a rule."""

    field: str
    """As YAML has it."""
    unit: Unit
    of_run: bool
    """Of the run with its children; else of the turn."""
    most: int


@dataclass(frozen=True, slots=True)
class _Rule:
    place: str
    policy: str
    dry_run: bool
    blocks: bool
    bounds: tuple[Bound, ...]


class CostVerdict(NamedTuple):
    """What the rules say of the next call. `refusal` says why it is not made; empty where it is."""

    verdicts: Sequence[Verdict]
    refusal: str


class CostLimits:
    """The cost limits of an agent. `policy_sha256` is that of its guardrails."""

    def __init__(self, spec: GuardrailsSpec) -> None:
        self._rules = tuple(_rules(spec))
        self.policy_sha256 = hashlib.sha256(spec.to_json().encode()).digest()

    def __bool__(self) -> bool:
        return bool(self._rules)

    def judge(self, turn: Used, children: Used, prompt_tokens: int) -> CostVerdict:
        """Whether a call that sends so many tokens may be made after this has been used."""
        more = turn.priced(prompt_tokens)
        verdicts: list[Verdict] = []
        for rule in self._rules:
            over = [bound for bound in rule.bounds if _used(bound, turn, children) + more.of(bound.unit) > bound.most]
            verdicts.append(_verdict(rule, over))
            if over and rule.blocks and not rule.dry_run:
                return CostVerdict(verdicts, _refusal(rule, over[0], _used(over[0], turn, children), more))
        return CostVerdict(verdicts, "")

    def for_router(self, agent: ResourceRef, children: Used) -> Iterator[Inherited]:
        """The bounds of money that stop a run, for the router, which knows what a call costs before it is made. It
        counts what the run and its children have spent together."""
        for rule in self._rules:
            for bound in rule.bounds if rule.blocks and not rule.dry_run else ():
                if bound.unit == "usd":
                    left = bound.most if bound.of_run else bound.most + children.usd
                    yield Inherited(agent=agent, left_cost_nanos=left, declared=_declared(rule, bound))

    def blame(self, verdicts: Sequence[Verdict], refusal: str) -> None:
        """Makes the verdict of the rule a block that the router refused a call for."""
        for rule, verdict in zip(self._rules, verdicts, strict=True):
            for bound in rule.bounds:
                if _declared(rule, bound) in refusal:
                    verdict.CopyFrom(_verdict(rule, [bound]))


def _declared(rule: _Rule, bound: Bound) -> str:
    return f"spec.{rule.place}.{bound.field}"


def _used(bound: Bound, turn: Used, children: Used) -> int:
    return turn.of(bound.unit) + (children.of(bound.unit) if bound.of_run else 0)


def _rules(spec: GuardrailsSpec) -> Iterator[_Rule]:
    for stage in STAGES:
        for place, rule, policy, dry_run in spec.rules(stage):
            if isinstance(rule, CostLimit):
                yield _Rule(place, policy, dry_run, rule.action == "block", tuple(_bounds(rule)))


def _bounds(rule: CostLimit) -> Iterator[Bound]:
    for field, of_run, tokens in (
        ("max_tokens_per_turn", False, rule.max_tokens_per_turn),
        ("max_tokens_per_run", True, rule.max_tokens_per_run),
    ):
        if tokens is not None:
            yield Bound(field, "tokens", of_run, tokens)
    for field, of_run, usd in (
        ("max_cost_per_turn", False, rule.max_cost_per_turn),
        ("max_cost_per_run", True, rule.max_cost_per_run),
    ):
        if usd is not None:
            yield Bound(field, "usd", of_run, round(usd * NANOS))


def _verdict(rule: _Rule, over: Sequence[Bound]) -> Verdict:
    findings = [Finding(kind=bound.field.removeprefix("max_").upper()) for bound in over]
    return Verdict(rule=NAME, action=_action(rule, over), findings=findings, policy=rule.policy, dry_run=rule.dry_run)


def _action(rule: _Rule, over: Sequence[Bound]) -> VerdictAction.ValueType:
    if not over:
        return VERDICT_ACTION_ALLOW
    return VERDICT_ACTION_BLOCK if rule.blocks else VERDICT_ACTION_WARN


def _refusal(rule: _Rule, bound: Bound, used: int, more: Used) -> str:
    what = "run" if bound.of_run else "turn"
    return (
        f"{NAME}: this {what} has used {_told(used, bound.unit)}, the next call of a model takes at least "
        f"{_told(more.of(bound.unit), bound.unit)}, and {_told(bound.most, bound.unit)} are allowed "
        f"({_declared(rule, bound)})"
    )


def _told(amount: int, unit: Unit) -> str:
    return f"{amount:,} tokens" if unit == "tokens" else f"${amount / NANOS:.6f}"
