"""Single rules over a text: what each says of it and makes of it. Their order and the policy are in `policy`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
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
from astromesh_core.resources.guardrail_rules import MaxLength, PiiDetection, PiiKind
from astromesh_guardrails.detectors.accounts import cards, ibans, social_security_numbers
from astromesh_guardrails.detectors.addresses import emails, ip_addresses
from astromesh_guardrails.detectors.phones import check_country, phones
from astromesh_guardrails.detectors.secrets import secrets
from astromesh_guardrails.spans import Span, disjoint, redact

Detector = Callable[[str], Iterable[Span]]

PRECEDENCE: Final = ("PRIVATE_KEY", "API_KEY", "EMAIL", "IBAN", "CREDIT_CARD", "US_SSN", "IP_ADDRESS", "PHONE")
"""Where findings overlap, the kind with the surer evidence names the place."""

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
        for country in spec.countries:
            check_country(country)
        self._action = spec.action
        self._detectors = _detectors(frozenset(spec.kinds), spec.countries)

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are disjoint and in order of place."""
        spans = disjoint(chain.from_iterable(detect(text) for detect in self._detectors), PRECEDENCE)
        if not spans:
            return Applied(text, Verdict(rule="pii_detection", action=VERDICT_ACTION_ALLOW))
        findings = [Finding(kind=kind, start=start, end=end) for start, end, kind in spans]
        verdict = Verdict(rule="pii_detection", action=_ACTIONS[self._action], findings=findings)
        if self._action == "block":
            kinds = ", ".join(dict.fromkeys(span.kind for span in spans))
            return Applied("", verdict, f"pii_detection: the text contains {kinds}; take it out and send it again.")
        return Applied(redact(text, spans) if self._action == "redact" else text, verdict)


def _detectors(kinds: frozenset[PiiKind], countries: tuple[str, ...]) -> tuple[Detector, ...]:
    by_kind: dict[PiiKind, Detector] = {
        "secret": secrets,
        "email": emails,
        "iban": ibans,
        "credit_card": cards,
        "us_ssn": social_security_numbers,
        "ip_address": ip_addresses,
        "phone": lambda text: phones(text, countries),
    }
    return tuple(detector for kind, detector in by_kind.items() if not kinds or kind in kinds)
