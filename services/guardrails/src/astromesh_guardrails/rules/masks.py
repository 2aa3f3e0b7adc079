"""The rule `pii_detection` where its action is `mask`."""

from __future__ import annotations

from astromesh.v1.values_pb2 import VERDICT_ACTION_MASK, Finding, Verdict
from astromesh_core.resources.guardrail_rules import PiiDetection
from astromesh_guardrails.masking import Masks
from astromesh_guardrails.rules.acting import allowed
from astromesh_guardrails.rules.personal_data import PersonalDataRule
from astromesh_guardrails.rules.port import Applied


class MaskRule:
    """Writes tokens over personal data and secrets. What they stand for is the run's to keep."""

    name = PersonalDataRule.name

    def __init__(self, spec: PiiDetection) -> None:
        self._rule = PersonalDataRule(spec)

    def apply(self, text: str) -> Applied:
        """Judges the text as the first one of a run."""
        return self.mask(text, Masks())

    def mask(self, text: str, masks: Masks) -> Applied:
        """Judges the text; findings are disjoint and in order of place. What had no token gets one in `masks`."""
        masks.reserve(text)
        spans = self._rule.find(text)
        if not spans:
            return allowed(self.name, text)
        findings = [Finding(kind=kind, start=start, end=end) for start, end, kind in spans]
        verdict = Verdict(rule=self.name, action=VERDICT_ACTION_MASK, findings=findings)
        return Applied(masks.masked(text, spans), verdict)
