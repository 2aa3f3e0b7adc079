"""An agent's rules, compiled once and applied in their order. No agent and no rpc; asking a model is its rules'."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from astromesh.v1.guardrails_pb2 import (
    GUARDRAIL_STAGE_INPUT,
    GUARDRAIL_STAGE_OUTPUT,
    GUARDRAIL_STAGE_TOOL_ARGUMENTS,
    GUARDRAIL_STAGE_TOOL_RESULTS,
    GuardrailStage,
    RuleProblem,
)
from astromesh.v1.values_pb2 import VERDICT_ACTION_BLOCK, VERDICT_ACTION_WARN, Passage, Verdict
from astromesh_core.errors import AstromeshError, InvalidInput, NotFound, TemporaryError
from astromesh_core.resources import guardrail_rules as declared
from astromesh_core.resources.guardrail_costs import CostLimit
from astromesh_core.resources.guardrail_streaming import held_back
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_guardrails.growing import Redacting, State, Step, Truncating, grow
from astromesh_guardrails.long_texts import worked_on
from astromesh_guardrails.masking import Masks
from astromesh_guardrails.rules.catalogue import made
from astromesh_guardrails.rules.content import ContentRule
from astromesh_guardrails.rules.length import LengthRule
from astromesh_guardrails.rules.masks import MaskRule
from astromesh_guardrails.rules.personal_data import PersonalDataRule
from astromesh_guardrails.rules.port import AnyRule, Applied, AskingRule, Judged
from astromesh_guardrails.rules.trained_topics import TrainedTopicsRule
from astromesh_guardrails.sources import Sources
from astromesh_guardrails.structured import Structured

STAGE_NUMBERS: Final[dict[str, GuardrailStage.ValueType]] = {
    "input": GUARDRAIL_STAGE_INPUT,
    "tool_arguments": GUARDRAIL_STAGE_TOOL_ARGUMENTS,
    "tool_results": GUARDRAIL_STAGE_TOOL_RESULTS,
    "output": GUARDRAIL_STAGE_OUTPUT,
}
"""Stages by their names in YAML."""

WHOLE_RULES: Final = frozenset(("json_schema", "max_length"))
"""Of what goes to tools and comes back these rules see the JSON as it stands, all others what stands in it."""


class Checked(NamedTuple):
    """What a policy says of a text: how it goes on, or (blocked) why it does not."""

    text: str
    blocked: bool
    reason: str
    verdicts: tuple[Verdict, ...]
    places: tuple[str, ...] = ()
    """Where the rule of each verdict is declared."""


class Placed(NamedTuple):
    """A rule, and where it is declared, such as `guardrails.input[0]`."""

    place: str
    rule: AnyRule
    policy: str = ""
    """The shared policy that it comes from."""
    dry_run: bool = False
    """Its verdict is told, and nothing else comes of it."""


class Policy:
    """The rules of all stages. `sha256` identifies them: the SHA-256 of their canonical JSON."""

    def __init__(
        self, stages: dict[GuardrailStage.ValueType, tuple[Placed, ...]], sha256: bytes, whole: str = ""
    ) -> None:
        """`whole` says which output rules must see the whole answer; empty: none."""
        self._stages = stages
        self._whole = whole
        self._steps = [] if whole else [*_steps(stages.get(GUARDRAIL_STAGE_OUTPUT, ()))]
        self.sha256 = sha256

    @property
    def rules(self) -> Iterator[Placed]:
        """The rules of all stages."""
        for rules in self._stages.values():
            yield from rules

    async def check(
        self,
        stage: GuardrailStage.ValueType,
        text: str,
        passages: Sequence[Passage] = (),
        masks: Masks | None = None,
        *,
        every: bool = False,
    ) -> Checked:
        """Applies the stage's rules. Raises InvalidInput for a stage that is none.

        A length that blocks is judged first, on the text as it came: what is refused anyway is not searched. The others
        follow in the order of the YAML, each on what the one before it left; findings are offsets in the text that
        their rule saw, which of JSON to and from tools is its names, texts and numbers with one character between them.
        The first rule that blocks ends the check, but with `every`, which asks the others too. Tokens of masks are
        those of `masks`, which grows.
        """
        rules = self._stages.get(stage)
        if rules is None:
            raise InvalidInput(f"{stage} is no stage of guardrails: send input, tool_arguments, tool_results or output")
        checking, refusal = _Checking(stage, text, passages, masks or Masks()), ""
        for placed in rules:
            reason = await checking.apply(placed)
            refusal = refusal or reason
            if refusal and not every:
                break
        places = tuple(placed.place for placed in rules[: len(checking.verdicts)])
        return Checked("" if refusal else checking.text, bool(refusal), refusal, tuple(checking.verdicts), places)

    def part(self, states: Sequence[State], text: str, *, last: bool) -> tuple[str, list[State]]:
        """Checks the next piece of an answer; `states` as the piece before left them. Raises InvalidInput where a rule
        has to see the whole answer."""
        if self._whole:
            raise InvalidInput(f"this answer is told when it is whole: {self._whole}")
        return grow(self._steps, states, text, last=last)

    async def problems(self) -> list[RuleProblem]:
        """What keeps rules from their work, each with its place; opens what they ask."""
        return [problem for placed in self.rules if (problem := await _problem(placed)) is not None]

    async def masked(self, texts: Sequence[str], masks: Masks) -> list[str]:
        """The texts as the rules leave them that mask the input; `masks` grows."""
        stage = self._stages[GUARDRAIL_STAGE_INPUT]
        rules = [placed.rule for placed in stage if isinstance(placed.rule, MaskRule) and not placed.dry_run]
        left = list(texts)
        for text in texts if rules else ():
            masks.reserve(text)
        for rule in rules:
            for index, text in enumerate(left):
                left[index] = rule.mask(text, masks).text
                # Others shall have their turn: a conversation may be long.
                await asyncio.sleep(0)
        return left


class _Checking:
    """One text on its way through the rules of a stage."""

    def __init__(self, stage: GuardrailStage.ValueType, text: str, passages: Sequence[Passage], masks: Masks) -> None:
        self.text = text
        self.verdicts: list[Verdict] = []
        self._passages = passages
        self._masks = masks
        self._stage = stage
        self._structured = stage in (GUARDRAIL_STAGE_TOOL_ARGUMENTS, GUARDRAIL_STAGE_TOOL_RESULTS)

    async def apply(self, placed: Placed) -> str:
        """Why the text does not pass; empty where it does."""
        structured = Structured(self.text) if self._structured and placed.rule.name not in WHOLE_RULES else None
        text = self.text if structured is None else structured.text
        # What is only tried out makes no tokens.
        applied = await _applied(placed.rule, text, self._passages, Masks() if placed.dry_run else self._masks)
        verdict = applied.verdict
        verdict.policy, verdict.dry_run = placed.policy, placed.dry_run
        self.verdicts.append(verdict)
        if placed.dry_run or applied.reason or applied.text == text:
            return "" if placed.dry_run else applied.reason
        if structured is None:
            self.text = applied.text
            return ""
        written = structured.rewritten(applied.text, renames=self._stage == GUARDRAIL_STAGE_TOOL_RESULTS)
        if written is None:
            verdict.action = VERDICT_ACTION_BLOCK
            return (
                f"{placed.rule.name}: what it leaves cannot be used any more; send it without what the rule takes out."
            )
        self.text = written
        return ""


async def _applied(rule: AnyRule, text: str, passages: Sequence[Passage], masks: Masks) -> Applied:
    if isinstance(rule, MaskRule):
        return rule.mask(text, masks)
    if not isinstance(rule, AskingRule):
        return await worked_on(text, rule.apply)
    try:
        return await rule.judge(Judged(text, passages))
    except AstromeshError as error:
        return _unjudged(rule, text, error)


async def _problem(placed: Placed) -> RuleProblem | None:
    if not isinstance(placed.rule, AskingRule):
        return None
    try:
        await placed.rule.prepare()
    except TemporaryError as error:
        # Whoever allows what cannot be judged wants to serve meanwhile.
        allows = placed.rule.on_error == "allow"
        return None if allows else RuleProblem(place=placed.place, reason=reason_of(error), message=error.message)
    except AstromeshError as error:
        return RuleProblem(place=placed.place, reason=reason_of(error), message=error.message)
    return None


def reason_of(error: AstromeshError) -> str:
    """An error's class as conditions have it: `not-found` is `NotFound`."""
    return error.code.title().replace("-", "")


def _unjudged(rule: AskingRule, text: str, error: AstromeshError) -> Applied:
    """What a rule's `on_error` makes of a text that it could not judge."""
    if rule.on_error == "allow":
        return Applied(text, Verdict(rule=rule.name, action=VERDICT_ACTION_WARN, error_class=error.code))
    reason = f"{rule.name}: the text could not be judged ({error.code}), and what is not judged does not pass."
    return Applied("", Verdict(rule=rule.name, action=VERDICT_ACTION_BLOCK, error_class=error.code), reason)


def compile_policy(spec: GuardrailsSpec, sources: Sources) -> Policy:
    """Makes an agent's rules ready to apply. What they ask is not opened yet: see `problems`.

    Raises InvalidInput for a rule that cannot work (a country without numbering plan, a file that is no classifier),
    naming the rule.
    """
    stages = {number: _compile_stage(spec, stage, sources) for stage, number in STAGE_NUMBERS.items()}
    reasons = "; ".join(f"{place}: {reason}" for place, reason in held_back(spec))
    return Policy(stages, _sha256(spec, stages.values()), reasons)


def _sha256(spec: GuardrailsSpec, stages: Iterable[Sequence[Placed]]) -> bytes:
    """Of what is declared and, where rules read files, of these."""
    declared_sha256 = hashlib.sha256(spec.to_json().encode()).digest()
    rules = [placed.rule for stage in stages for placed in stage]
    files = b"".join(rule.sha256 for rule in rules if isinstance(rule, TrainedTopicsRule))
    return hashlib.sha256(declared_sha256 + files).digest() if files else declared_sha256


def _steps(output: Sequence[Placed]) -> Iterator[Step]:
    """What rules of the output stage do to a growing answer; of those that only warn, nothing."""
    for placed in output:
        rule = placed.rule
        if placed.dry_run:
            continue
        if isinstance(rule, LengthRule) and not rule.blocks and rule.most_characters is not None:
            yield Truncating(rule.most_characters)
        elif isinstance(rule, PersonalDataRule | ContentRule) and rule.redacts:
            yield Redacting(rule)


def _compile_stage(spec: GuardrailsSpec, stage: str, sources: Sources) -> tuple[Placed, ...]:
    compiled = [
        _compile(place, rule, sources)._replace(policy=policy, dry_run=dry_run)
        for place, rule, policy, dry_run in spec.rules(stage)
        if not isinstance(rule, CostLimit)  # judged before a call of a model, where there is no text to check
    ]
    return tuple(sorted(compiled, key=lambda placed: not (isinstance(placed.rule, LengthRule) and placed.rule.blocks)))


def _compile(place: str, rule: declared.Rule, sources: Sources) -> Placed:
    try:
        return Placed(place, made(rule, sources))
    except (InvalidInput, NotFound) as error:
        raise InvalidInput(f"{place}: {error.message}") from error
