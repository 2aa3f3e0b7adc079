"""Where one model broke off and another goes on: what is sent as the beginning, and what of the rest is new. Pure.

The beginning goes without the whitespace at its end (Anthropic refuses it, and tokens begin with the space), so a
continuation says that whitespace again: it is taken out. A server that repeats the whole beginning is seen through.
"""

from __future__ import annotations

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.profiles import profile_of

GRAMMARS = frozenset({"response_format", "format", "grammar", "json_schema", "structured_outputs", "guided_json"})
"""Parameters that bind a reply to a form, which begins anew with each call: half of it cannot be gone on with."""

THINKING = frozenset({"thinking", "think"})
"""Parameters that have a model think before it answers: it takes no answer that has begun."""

SHORTEST_ECHO = 16
"""Characters. A continuation may well begin as a shorter answer did ("ha" with "ha"), hardly with all of a longer."""


def can_continue(candidate: Candidate, request: CompleteRequest, told: str) -> bool:
    """Whether a candidate can go on with this text, so that nothing of it has to be taken back."""
    bound = request.output_schema_json or not (GRAMMARS | THINKING).isdisjoint(candidate.parameters)
    return bool(told.strip()) and not bound and profile_of(candidate).continues


class Joint:
    """Joins a continuation to the text that was told: `feed` and `finish` give what is new of it."""

    def __init__(self, told: str) -> None:
        self.prefill = told.rstrip()
        """What the model is to go on with."""
        self._echo = self.prefill if len(self.prefill) >= SHORTEST_ECHO else ""
        self._echoed = 0
        self._gap = told[len(self.prefill) :]
        self._crossed = 0

    def feed(self, text: str) -> str:
        """The next text of the model, as far as the reader has not seen it; held back while that is open."""
        if self._echo:
            if self._echo.startswith(text, self._echoed) and self._echoed + len(text) < len(self._echo):
                self._echoed += len(text)
                return ""
            text = self._past_echo(text)
        return self._past_gap(text) if self._gap else text

    def finish(self) -> str:
        """What was held back, at the end: it was no echo."""
        held, self._echo = self._echo[: self._echoed], ""
        return self._past_gap(held)

    def _past_echo(self, text: str) -> str:
        left = self._echo[self._echoed :]
        text = text.removeprefix(left) if text.startswith(left) else self._echo[: self._echoed] + text
        self._echo = ""
        return text

    def _past_gap(self, text: str) -> str:
        gap = self._gap[self._crossed : self._crossed + len(text)]
        same = next(
            (place for place, (one, other) in enumerate(zip(gap, text, strict=False)) if one != other), len(gap)
        )
        self._crossed += same
        if same < len(text):
            self._gap = ""
        return text[same:]
