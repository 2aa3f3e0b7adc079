"""The rule `content_filter`."""

from __future__ import annotations

from collections.abc import Iterator

from astromesh_core.resources.guardrail_content import ContentFilter, ContentPattern
from astromesh_core.safe_patterns import SafePattern
from astromesh_guardrails.growing import REACH
from astromesh_guardrails.rules.acting import ACTIONS, Hit, hit
from astromesh_guardrails.rules.port import Applied
from astromesh_native.keywords import matcher
from astromesh_native.spans import Span

_KEYWORD = "KEYWORD"


class ContentRule:
    """Finds forbidden words and patterns; redacts them, blocks the text, or only says so."""

    name = "content_filter"

    def __init__(self, spec: ContentFilter) -> None:
        self._action = spec.action
        self._severity = spec.severity or ""
        self._longest = max(map(len, spec.forbidden_keywords), default=0)
        self._matcher = matcher(spec.forbidden_keywords) if spec.forbidden_keywords else None
        self._patterns = [
            (SafePattern(it.pattern, ignore_case=it.ignore_case), self._as_declared(it))
            for it in spec.forbidden_patterns
        ]

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are disjoint and in order of place."""
        return hit(self.name, text, _apart(self._hits(text)), "what its rule forbids")

    @property
    def redacts(self) -> bool:
        """Whether it writes over what it finds."""
        return self._action == "redact"

    @property
    def reach(self) -> int:
        """How near the end of a text a finding of keywords may begin that can still change."""
        return self._longest + REACH

    def find(self, text: str) -> list[Span]:
        """What is written over, disjoint and in order of place."""
        return [it.span for it in _apart(self._hits(text)) if it.action == "redact"]

    def _as_declared(self, pattern: ContentPattern) -> Hit:
        """What is made of each place where the pattern stands."""
        return Hit(Span(0, 0, pattern.kind), pattern.action or self._action, pattern.severity or self._severity)

    def _hits(self, text: str) -> Iterator[Hit]:
        if self._matcher is not None:
            for start, end in self._matcher.find(text):
                yield Hit(Span(start, end, _KEYWORD), self._action, self._severity)
        for pattern, declared in self._patterns:
            for start, end in pattern.find(text):
                yield declared._replace(span=Span(start, end, declared.span.kind))


def _apart(found: Iterator[Hit]) -> list[Hit]:
    """In order of place; of hits that overlap one is left: both together, with the strictest of the two's action."""
    merged: list[Hit] = []
    for it in sorted(found, key=lambda it: (it.span.start, -it.span.end)):
        if merged and it.span.start < merged[-1].span.end:
            merged[-1] = _joined(merged[-1], it)
        else:
            merged.append(it)
    return merged


def _joined(first: Hit, second: Hit) -> Hit:
    stricter = second if ACTIONS[second.action] > ACTIONS[first.action] else first
    start, end = first.span.start, max(first.span.end, second.span.end)
    return stricter._replace(span=Span(start, end, stricter.span.kind))
