"""What becomes of a text in which a rule found something: it is let through, written over, or blocked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from astromesh.v1.values_pb2 import (
    VERDICT_ACTION_ALLOW,
    VERDICT_ACTION_BLOCK,
    VERDICT_ACTION_REDACT,
    VERDICT_ACTION_WARN,
    Finding,
    Verdict,
    VerdictAction,
)
from astromesh_guardrails.rules.port import Applied
from astromesh_guardrails.spans import redact
from astromesh_native.spans import Span

ACTIONS: Final[dict[str, VerdictAction.ValueType]] = {
    "warn": VERDICT_ACTION_WARN,
    "redact": VERDICT_ACTION_REDACT,
    "block": VERDICT_ACTION_BLOCK,
}
"""By their names in YAML, the higher number is the stricter."""


class Hit(NamedTuple):
    """A place where something was found, and what its rule wants done."""

    span: Span
    action: str
    severity: str = ""


def allowed(rule: str, text: str) -> Applied:
    """The text goes on as it is: nothing was found."""
    return Applied(text, Verdict(rule=rule, action=VERDICT_ACTION_ALLOW))


def acted(rule: str, action: str, text: str, spans: Sequence[Span], what: str) -> Applied:
    """What one action makes of what was found; `what` names it and holds nothing of the text.

    The spans are disjoint and in order.
    """
    return hit(rule, text, [Hit(span, action) for span in spans], what)


def hit(rule: str, text: str, hits: Sequence[Hit], what: str) -> Applied:
    """The same where places have actions of their own: the strictest decides, and what is to be redacted is."""
    if not hits:
        return allowed(rule, text)
    findings = [Finding(kind=it.span.kind, start=it.span.start, end=it.span.end, severity=it.severity) for it in hits]
    strictest = max(ACTIONS[it.action] for it in hits)
    verdict = Verdict(rule=rule, action=strictest, findings=findings)
    if strictest == VERDICT_ACTION_BLOCK:
        return Applied("", verdict, f"{rule}: the text contains {what}; take it out and send it again.")
    if strictest == VERDICT_ACTION_REDACT:
        return Applied(redact(text, [it.span for it in hits if it.action == "redact"]), verdict)
    return Applied(text, verdict)


def refused(rule: str, action: str, text: str, spans: Sequence[Span], why: str) -> Applied:
    """The text as a whole is blocked, or let through with a warning; `why` holds nothing of it."""
    findings = [Finding(kind=span.kind, start=span.start, end=span.end) for span in spans]
    verdict = Verdict(rule=rule, action=ACTIONS[action], findings=findings)
    return Applied("", verdict, f"{rule}: {why}") if action == "block" else Applied(text, verdict)
