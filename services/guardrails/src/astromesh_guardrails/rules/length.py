"""The rule `max_length`."""

from __future__ import annotations

from astromesh.v1.values_pb2 import VERDICT_ACTION_BLOCK, VERDICT_ACTION_REDACT, Finding, Verdict
from astromesh_core.resources.guardrail_rules import MaxLength
from astromesh_guardrails.rules.acting import allowed
from astromesh_guardrails.rules.port import Applied


class LengthRule:
    """Bounds a text's length in characters, by blocking what is longer or by cutting it."""

    name = "max_length"

    def __init__(self, spec: MaxLength) -> None:
        self._most = spec.max_characters
        self.blocks = spec.action == "block"

    def apply(self, text: str) -> Applied:
        """Judges the text; the finding is what is too much."""
        if len(text) <= self._most:
            return allowed(self.name, text)
        finding = Finding(kind="LENGTH", start=self._most, end=len(text))
        if self.blocks:
            reason = (
                f"max_length: the text has {len(text)} characters and at most {self._most} are allowed; shorten it."
            )
            return Applied("", Verdict(rule=self.name, action=VERDICT_ACTION_BLOCK, findings=[finding]), reason)
        return Applied(text[: self._most], Verdict(rule=self.name, action=VERDICT_ACTION_REDACT, findings=[finding]))
