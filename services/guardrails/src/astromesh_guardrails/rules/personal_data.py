"""The rule `pii_detection`."""

from __future__ import annotations

from collections.abc import Sequence

from astromesh_core.resources.guardrail_rules import PiiDetection
from astromesh_guardrails.growing import REACH
from astromesh_guardrails.numbering import numbering_plan
from astromesh_guardrails.rules.acting import acted
from astromesh_guardrails.rules.port import Applied
from astromesh_native.personal_data import scanner
from astromesh_native.spans import ENTITIES, Span


class PersonalDataRule:
    """Finds personal data and secrets; redacts them, blocks the text, or only says so."""

    name = "pii_detection"
    reach = REACH

    def __init__(self, spec: PiiDetection) -> None:
        plans = [numbering_plan(country) for country in spec.countries]
        self._action = spec.action
        self._scanner = scanner(frozenset(spec.kinds or ENTITIES), plans)

    @property
    def redacts(self) -> bool:
        """Whether it writes over what it finds."""
        return self._action == "redact"

    def apply(self, text: str) -> Applied:
        """Judges the text; findings are disjoint and in order of place."""
        spans = self.find(text)
        return acted(self.name, self._action, text, spans, ", ".join(dict.fromkeys(span.kind for span in spans)))

    def find(self, text: str) -> Sequence[Span]:
        """What is found, disjoint and in order of place."""
        return self._scanner.scan(text)
