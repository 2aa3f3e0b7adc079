"""Single rules over a text: what each says of it and makes of it. Their order and the policy are in `policy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from astromesh.v1.values_pb2 import (
    VERDICT_ACTION_ALLOW,
    VERDICT_ACTION_BLOCK,
    VERDICT_ACTION_REDACT,
    VERDICT_ACTION_WARN,
    Finding,
    Verdict,
    VerdictAction,
)
from astromesh_core.resources.guardrail_rules import ContentFilter, MaxLength, PiiDetection
from astromesh_guardrails.numbering import numbering_plan
from astromesh_guardrails.spans import redact
from astromesh_native.keywords import matcher
from astromesh_native.personal_data import scanner
from astromesh_native.spans import ENTITIES, Span

_ACTIONS: Final[dict[str, VerdictAction.ValueType]] = {
    "redact": VERDICT_ACTION_REDACT,
    "block": VERDICT_ACTION_BLOCK,
    "warn": VERDICT_ACTION_WARN,
}


class Applied(NamedTuple):
    """What a rule made of a text. `reason` is set where it blocks, and holds nothing of the text."""

    text: str
    verdict: Verdict
    reason: str = ""


class Rule(Protocol):
    """One rule, ready to be applied any number of times."""

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are offsets in the text as given."""
        ...


class LengthRule:
    """Bounds a text's length in characters, by blocking what is longer or by cutting it."""

    def __init__(self, spec: MaxLength) -> None:
        self._most = spec.max_characters
        self.blocks = spec.action == "block"

    def apply(self, text: str) -> Applied:
        """Judges the text; the finding is what is too much."""
        if len(text) <= self._most:
            return Applied(text, Verdict(rule="max_length", action=VERDICT_ACTION_ALLOW))
        finding = Finding(kind="LENGTH", start=self._most, end=len(text))
        if self.blocks:
            reason = (
                f"max_length: the text has {len(text)} characters and at most {self._most} are allowed; shorten it."
            )
            return Applied("", Verdict(rule="max_length", action=VERDICT_ACTION_BLOCK, findings=[finding]), reason)
        return Applied(text[: self._most], Verdict(rule="max_length", action=VERDICT_ACTION_REDACT, findings=[finding]))


class PersonalDataRule:
    """Finds personal data and secrets; redacts them, blocks the text, or only says so."""

    def __init__(self, spec: PiiDetection) -> None:
        plans = [numbering_plan(country) for country in spec.countries]
        self._action = spec.action
        self._scanner = scanner(frozenset(spec.kinds or ENTITIES), plans)

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are disjoint and in order of place."""
        spans = self._scanner.scan(text)
        kinds = ", ".join(dict.fromkeys(span.kind for span in spans))
        return _applied("pii_detection", self._action, text, spans, kinds)


class ContentRule:
    """Finds forbidden words; redacts them, blocks the text, or only says so."""

    def __init__(self, spec: ContentFilter) -> None:
        self._action = spec.action
        self._matcher = matcher(spec.forbidden_keywords)

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are disjoint and in order of place."""
        spans = [Span(start, end, "KEYWORD") for start, end in self._matcher.find(text)]
        return _applied("content_filter", self._action, text, spans, "what its rule forbids")


def _applied(rule: str, action: str, text: str, spans: Sequence[Span], what: str) -> Applied:
    """What an action makes of what was found; `what` names it and holds nothing of the text."""
    if not spans:
        return Applied(text, Verdict(rule=rule, action=VERDICT_ACTION_ALLOW))
    findings = [Finding(kind=kind, start=start, end=end) for start, end, kind in spans]
    verdict = Verdict(rule=rule, action=_ACTIONS[action], findings=findings)
    if action == "block":
        return Applied("", verdict, f"{rule}: the text contains {what}; take it out and send it again.")
    return Applied(redact(text, spans) if action == "redact" else text, verdict)
