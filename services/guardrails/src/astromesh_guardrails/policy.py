"""An agent's rules, compiled once and applied in their order. Pure: no agent, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_INPUT, GUARDRAIL_STAGE_OUTPUT, GuardrailStage
from astromesh.v1.values_pb2 import Verdict
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.resources import guardrail_rules as declared
from astromesh_guardrails.rules import Applied, ContentRule, LengthRule, PersonalDataRule, Rule


class Checked(NamedTuple):
    """What a policy says of a text: how it goes on, or (blocked) why it does not."""

    text: str
    blocked: bool
    reason: str
    verdicts: tuple[Verdict, ...]


class Policy:
    """The rules of both stages. `sha256` identifies them: the SHA-256 of their canonical JSON."""

    def __init__(self, stages: dict[GuardrailStage.ValueType, tuple[Rule, ...]], sha256: bytes) -> None:
        self._stages = stages
        self.sha256 = sha256

    def check(self, stage: GuardrailStage.ValueType, text: str) -> Checked:
        """Applies the stage's rules. Raises InvalidInput for a stage that is none.

        A length that blocks is judged first, on the text as it came: what is refused anyway is not searched. The others
        follow in the order of the YAML, each on what the one before it left; findings are offsets in the text that
        their rule saw. The first rule that blocks ends the check.
        """
        rules = self._stages.get(stage)
        if rules is None:
            raise InvalidInput(f"{stage} is no stage of guardrails: send input or output")
        verdicts: list[Verdict] = []
        for rule in rules:
            applied: Applied = rule.apply(text)
            verdicts.append(applied.verdict)
            if applied.reason:
                return Checked("", True, applied.reason, tuple(verdicts))
            text = applied.text
        return Checked(text, False, "", tuple(verdicts))


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


def _compile_stage(stage: str, rules: Sequence[declared.Rule]) -> tuple[Rule, ...]:
    compiled = [_compile(f"guardrails.{stage}[{index}]", rule) for index, rule in enumerate(rules)]
    return tuple(sorted(compiled, key=lambda rule: not (isinstance(rule, LengthRule) and rule.blocks)))


def _compile(place: str, rule: declared.Rule) -> Rule:
    match rule:
        case declared.MaxLength():
            return LengthRule(rule)
        case declared.ContentFilter():
            return ContentRule(rule)
        case declared.PiiDetection():
            try:
                return PersonalDataRule(rule)
            except InvalidInput as error:
                raise InvalidInput(f"{place}: {error.message}") from error
        case _:
            raise NotSupported(
                f"{place}: {rule.type} is not built yet; use pii_detection, content_filter or max_length"
            )
