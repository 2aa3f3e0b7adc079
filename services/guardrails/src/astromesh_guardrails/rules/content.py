"""The rule `content_filter`."""

from __future__ import annotations

from astromesh_core.resources.guardrail_rules import ContentFilter
from astromesh_guardrails.rules.acting import acted
from astromesh_guardrails.rules.port import Applied
from astromesh_native.keywords import matcher
from astromesh_native.spans import Span


class ContentRule:
    """Finds forbidden words; redacts them, blocks the text, or only says so."""

    name = "content_filter"

    def __init__(self, spec: ContentFilter) -> None:
        self._action = spec.action
        self._matcher = matcher(spec.forbidden_keywords)

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are disjoint and in order of place."""
        spans = [Span(start, end, "KEYWORD") for start, end in self._matcher.find(text)]
        return acted(self.name, self._action, text, spans, "what its rule forbids")
