"""An agent's rules, compiled once and applied in their order. No agent and no rpc; asking a model is its rules'."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_INPUT, GUARDRAIL_STAGE_OUTPUT, GuardrailStage
from astromesh.v1.values_pb2 import VERDICT_ACTION_BLOCK, VERDICT_ACTION_WARN, Passage, Verdict
from astromesh_core.errors import AstromeshError, InvalidInput, NotSupported
from astromesh_core.resources import guardrail_rules as declared
from astromesh_guardrails.rules.content import ContentRule
from astromesh_guardrails.rules.length import LengthRule
from astromesh_guardrails.rules.personal_data import PersonalDataRule
from astromesh_guardrails.rules.port import AnyRule, Applied, AskingRule, Judged, Rule

LONGEST_INLINE: Final = 16_384
"""Characters up to which a text is checked on the event loop (0.1 ms in Rust, 4 ms in Python); a longer one goes to a
thread."""


class Checked(NamedTuple):
    """What a policy says of a text: how it goes on, or (blocked) why it does not."""

    text: str
    blocked: bool
    reason: str
    verdicts: tuple[Verdict, ...]


class Placed(NamedTuple):
    """A rule, and where it is declared, such as `guardrails.input[0]`."""

    place: str
    rule: AnyRule


class Policy:
    """The rules of all stages. `sha256` identifies them: the SHA-256 of their canonical JSON."""

    def __init__(self, stages: dict[GuardrailStage.ValueType, tuple[Placed, ...]], sha256: bytes) -> None:
        self._stages = stages
        self.sha256 = sha256

    @property
    def rules(self) -> Iterator[Placed]:
        """The rules of all stages."""
        for rules in self._stages.values():
            yield from rules

    async def check(self, stage: GuardrailStage.ValueType, text: str, passages: Sequence[Passage] = ()) -> Checked:
        """Applies the stage's rules. Raises InvalidInput for a stage that is none.

        A length that blocks is judged first, on the text as it came: what is refused anyway is not searched. The others
        follow in the order of the YAML, each on what the one before it left; findings are offsets in the text that
        their rule saw. The first rule that blocks ends the check.
        """
        rules = self._stages.get(stage)
        if rules is None:
            raise InvalidInput(f"{stage} is no stage of guardrails: send input or output")
        verdicts: list[Verdict] = []
        for _, rule in rules:
            applied = await _applied(rule, text, passages)
            verdicts.append(applied.verdict)
            if applied.reason:
                return Checked("", True, applied.reason, tuple(verdicts))
            text = applied.text
        return Checked(text, False, "", tuple(verdicts))


async def _applied(rule: AnyRule, text: str, passages: Sequence[Passage]) -> Applied:
    if not isinstance(rule, AskingRule):
        return rule.apply(text) if len(text) <= LONGEST_INLINE else await asyncio.to_thread(rule.apply, text)
    try:
        return await rule.judge(Judged(text, passages))
    except AstromeshError as error:
        return _unjudged(rule, text, error)


def _unjudged(rule: AskingRule, text: str, error: AstromeshError) -> Applied:
    """What a rule's `on_error` makes of a text that it could not judge."""
    if rule.on_error == "allow":
        return Applied(text, Verdict(rule=rule.name, action=VERDICT_ACTION_WARN, error_class=error.code))
    reason = f"{rule.name}: the text could not be judged ({error.code}), and what is not judged does not pass."
    return Applied("", Verdict(rule=rule.name, action=VERDICT_ACTION_BLOCK, error_class=error.code), reason)


def compile_policy(spec: declared.GuardrailsSpec) -> Policy:
    """Makes an agent's rules ready to apply.

    Raises InvalidInput for a rule that cannot work (a country without numbering plan), NotSupported for a type that is
    not built; both name the rule.
    """
    stages = {
        GUARDRAIL_STAGE_INPUT: _compile_stage("input", spec.input),
        GUARDRAIL_STAGE_OUTPUT: _compile_stage("output", spec.output),
    }
    return Policy(stages, hashlib.sha256(spec.to_json().encode()).digest())


def _compile_stage(stage: str, rules: Sequence[declared.Rule]) -> tuple[Placed, ...]:
    compiled = [_compile(f"guardrails.{stage}[{index}]", rule) for index, rule in enumerate(rules)]
    return tuple(sorted(compiled, key=lambda placed: not (isinstance(placed.rule, LengthRule) and placed.rule.blocks)))


def _compile(place: str, rule: declared.Rule) -> Placed:
    try:
        return Placed(place, _made(rule))
    except AstromeshError as error:
        raise type(error)(f"{place}: {error.message}") from error


def _made(rule: declared.Rule) -> Rule:
    match rule:
        case declared.MaxLength():
            return LengthRule(rule)
        case declared.ContentFilter():
            return ContentRule(rule)
        case declared.PiiDetection():
            return PersonalDataRule(rule)
        case _:
            raise NotSupported(f"{rule.type} is not built yet; use pii_detection, content_filter or max_length")
