"""The rule `prompt_injection`: text that tells the model what to do in place of those who built the agent.

By patterns, at once, and by the likeness of single sentences to known attacks, which asks a model. A sentence counts
where a classifier that is trained on known attacks and on harmless phrases is sure of it, and its nearest is an attack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final

from astromesh_core.resources.guardrail_meaning import PromptInjection
from astromesh_core.safe_patterns import SafePattern
from astromesh_guardrails.classifier import NONE, Classifier, trained
from astromesh_guardrails.disguises import undisguised
from astromesh_guardrails.known import anchors, attacks, harmless, patterns
from astromesh_guardrails.long_texts import worked_on
from astromesh_guardrails.pieces import Piece, pieces
from astromesh_guardrails.rules.acting import acted
from astromesh_guardrails.rules.port import Applied, AskingRule, Judged
from astromesh_guardrails.sources import BUILT_IN, Sources
from astromesh_native.spans import Span, disjoint

NAME: Final = "prompt_injection"
KIND: Final = "INJECTION"
NEAR: Final = 0.4
"""How near a sentence has to be to one of the known attacks, however sure the classifier is; by bench/labelled."""

_ATTACK: Final = "attack"
_WHAT: Final = "instructions to the model"


class InjectionPatterns:
    """Where patterns of attacks stand in a text, however its letters are disguised."""

    def __init__(self, own: Iterable[str]) -> None:
        self._own = [SafePattern(pattern, ignore_case=True) for pattern in own]

    def find(self, text: str) -> list[Span]:
        """The pieces of the text in which one stands, disjoint and in order."""
        shown = undisguised(text)
        found = [*_known_places(shown.text), *(place for own in self._own for place in own.find(shown.text))]
        places = [(shown.place(start), shown.place(end - 1) + 1) for start, end in found]
        return _widened(places, pieces(text)) if places else []


class InjectionPatternsRule:
    """Judges by patterns alone: at once, and asks no model."""

    name = NAME

    def __init__(self, spec: PromptInjection) -> None:
        self._action = spec.action
        self._patterns = InjectionPatterns(spec.patterns)

    def apply(self, text: str) -> Applied:
        """See Rule."""
        return acted(NAME, self._action, text, self._patterns.find(text), _WHAT)


class InjectionRule(AskingRule):
    """Judges by patterns, and by likeness where these let the text pass or it is not blocked anyway."""

    name = NAME

    def __init__(self, spec: PromptInjection, sources: Sources) -> None:
        super().__init__(spec.on_error)
        self._action = spec.action
        self._sure = spec.threshold
        self._patterns = InjectionPatterns(spec.patterns)
        self._embeddings = spec.embeddings or BUILT_IN
        bad, good = [*attacks(), *spec.examples], harmless()
        self._labels = [_ATTACK] * len(bad) + [NONE] * len(good)
        self._likeness = sources.likenesses.of(self._embeddings, [*bad, *good])
        self._classifier: Classifier | None = None

    async def prepare(self) -> None:
        """See AskingRule."""
        await self._likeness.prepare()
        await self._trained()

    async def judge(self, judged: Judged) -> Applied:
        """See AskingRule."""
        found = await worked_on(judged.text, self._patterns.find)
        if not (found and self._action == "block"):
            found = disjoint([*found, *await self._alike(judged.text)], (KIND,))
        return acted(NAME, self._action, judged.text, found, _WHAT)

    async def _alike(self, text: str) -> list[Span]:
        parts = await worked_on(text, pieces)
        if not parts:
            return []
        vectors = await self._likeness.vectors([undisguised(part.text).text for part in parts])
        sure = (await self._trained()).sureness(vectors)[:, 0]
        cosines = vectors @ (await self._likeness.known()).T
        attacks_known = self._labels.count(_ATTACK)
        nearest, harmless_nearest = cosines[:, :attacks_known].max(axis=1), cosines[:, attacks_known:].max(axis=1)
        return [
            Span(part.start, part.end, KIND)
            for part, surely, attack, innocence in zip(parts, sure, nearest, harmless_nearest, strict=True)
            if surely >= self._sure and attack >= NEAR and attack > innocence
        ]

    async def _trained(self) -> Classifier:
        if self._classifier is None:
            known = await self._likeness.known()
            self._classifier = await asyncio.to_thread(trained, self._embeddings, known, self._labels)
        return self._classifier


_MOST_BYTES: Final = 32 * 1024 * 1024
"""Of which some 5 MB are used; with 8 MB allowed, one text of a hundred takes ten times as long."""

_IN_SENTENCE: Final = r"(?:[^.!?。！？।\n]|[.!?][^\s.!?])*"
"""What may stand before and behind a place in one sentence; a mark within an address or a number ends none."""


@cache
def _known() -> tuple[SafePattern, SafePattern]:
    """A sentence that may hold one of the built-in patterns, and these."""
    candidate = f"{_IN_SENTENCE}(?:{anchors()}){_IN_SENTENCE}"
    known = SafePattern(patterns(), ignore_case=True, most_bytes=_MOST_BYTES)
    return SafePattern(candidate, ignore_case=True), known


def _known_places(text: str) -> Iterator[tuple[int, int]]:
    """Where the built-in patterns stand. None reaches beyond a sentence, and few sentences can hold one."""
    candidates, known = _known()
    for begin, past in candidates.find(text):
        for start, end in known.find(text[begin:past]):
            yield begin + start, begin + end


def _widened(places: Sequence[tuple[int, int]], parts: Sequence[Piece]) -> list[Span]:
    """The pieces that the places touch, for what surrounds an attack belongs to it; and the places themselves."""
    spans = [Span(start, end, KIND) for start, end in places]
    touched = [
        Span(part.start, part.end, KIND)
        for part in parts
        if any(start < part.end and part.start < end for start, end in places)
    ]
    return disjoint([*spans, *touched], (KIND,))
