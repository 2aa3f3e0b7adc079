"""The rule `max_length`."""

from __future__ import annotations

from collections.abc import Callable

from astromesh.v1.values_pb2 import VERDICT_ACTION_BLOCK, VERDICT_ACTION_REDACT, Finding, Verdict
from astromesh_core.resources.guardrail_rules import MaxLength
from astromesh_guardrails.rules.acting import allowed
from astromesh_guardrails.rules.port import Applied


class LengthRule:
    """Bounds a text's length in characters and in tokens, by blocking what is longer or by cutting it."""

    name = "max_length"

    def __init__(self, spec: MaxLength, count_tokens: Callable[[str], int]) -> None:
        self._characters = spec.max_characters
        self._tokens = spec.max_tokens
        self._count = count_tokens
        self.blocks = spec.action == "block"
        self.most_characters = spec.max_characters

    def apply(self, text: str) -> Applied:
        """Judges the text; the finding is what is too much."""
        too_long = self._too_long(text)
        if not too_long:
            return allowed(self.name, text)
        end = self._allowed_length(text)
        finding = Finding(kind="LENGTH", start=end, end=len(text))
        if self.blocks:
            reason = f"max_length: the text has {too_long} are allowed; shorten it."
            return Applied("", Verdict(rule=self.name, action=VERDICT_ACTION_BLOCK, findings=[finding]), reason)
        return Applied(text[:end], Verdict(rule=self.name, action=VERDICT_ACTION_REDACT, findings=[finding]))

    def _too_long(self, text: str) -> str:
        """By what; empty where the text is short enough."""
        if self._characters is not None and len(text) > self._characters:
            return f"{len(text)} characters and at most {self._characters}"
        if self._tokens is not None and not self._fits(text):
            return f"{self._count(text)} tokens and at most {self._tokens}"
        return ""

    def _allowed_length(self, text: str) -> int:
        """How many characters of the text are within both bounds."""
        most = len(text) if self._characters is None else min(len(text), self._characters)
        if self._fits(text[:most]):
            return most
        fits, too_long = 0, most
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self._fits(text[:middle]):
                fits = middle
            else:
                too_long = middle
        return fits

    def _fits(self, text: str) -> bool:
        return self._tokens is None or self._count(text) <= self._tokens
