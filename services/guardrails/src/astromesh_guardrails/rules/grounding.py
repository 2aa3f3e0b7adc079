"""The rule `grounding`: what an answer says has to stand in what was retrieved for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from astromesh_core.events.contents import plain
from astromesh_core.resources.guardrail_meaning import Grounding
from astromesh_guardrails.likeness import bounded
from astromesh_guardrails.long_texts import worked_on
from astromesh_guardrails.rules.acting import acted, allowed
from astromesh_guardrails.rules.port import Applied, AskingRule, Judged
from astromesh_guardrails.sources import BUILT_IN, Sources
from astromesh_native.spans import Span
from astromesh_vectors.sentences import Sentence, sentences

KIND: Final = "UNSUPPORTED"
FEWEST_WORDS: Final = 4
"""A sentence of fewer is a greeting or a filler and claims nothing."""

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_WORD: Final = re.compile(r"\w+")


class GroundingRule(AskingRule):
    """Finds the sentences of an answer that no retrieved sentence is near to, or whose numbers stand nowhere in what
    was retrieved; questions and fillers claim nothing."""

    name = "grounding"

    def __init__(self, spec: Grounding, sources: Sources) -> None:
        super().__init__(spec.on_error)
        self._spec = spec
        self._embedder = sources.likenesses.embedder
        self._embeddings = spec.embeddings or BUILT_IN

    async def prepare(self) -> None:
        """See AskingRule."""
        embedder = await self._embedder(self._embeddings)
        await embedder.check()

    async def judge(self, judged: Judged) -> Applied:
        """See AskingRule."""
        claims = [sentence for sentence in await worked_on(judged.text, sentences) if _claims(sentence.text)]
        texts = [plain(passage.text) for passage in judged.passages]
        if not claims or not (texts or self._spec.without_passages == "judge"):
            return allowed(self.name, judged.text)
        unsupported = await self._unsupported(claims, texts)
        spans = [Span(claim.start, claim.end, KIND) for claim in unsupported]
        return acted(self.name, self._spec.action, judged.text, spans, "what nothing that was retrieved supports")

    async def _unsupported(self, claims: Sequence[Sentence], texts: Sequence[str]) -> list[Sentence]:
        known = [text for text in texts if text]
        for text in texts:
            known += [sentence.text for sentence in await worked_on(text, sentences)]
        if not known:
            return list(claims)
        numbers = _numbers(texts) if self._spec.numbers else None
        near = await self._near([claim.text for claim in claims], known)
        return [
            claim
            for claim, is_near in zip(claims, near, strict=True)
            if not is_near or (numbers is not None and not _numbers([claim.text]) <= numbers)
        ]

    async def _near(self, claims: Sequence[str], known: Sequence[str]) -> list[bool]:
        bounded(claims)
        embedder = await self._embedder(self._embeddings)
        # Passages come again with the next question; what a person is answered does not stay on disk.
        supporting = await embedder.remembering.embed(bounded(known))
        said = await embedder.embed(claims)
        return [bool(best >= self._spec.threshold) for best in (said @ supporting.T).max(axis=1)]


def _claims(sentence: str) -> bool:
    return not sentence.rstrip("\"'”’)").endswith(("?", "？")) and len(_WORD.findall(sentence)) >= FEWEST_WORDS


def _numbers(texts: Iterable[str]) -> set[str]:
    """Numbers by their digits: 1,000.50 and 1.000,50 are one."""
    return {re.sub(r"[.,]", "", number) for text in texts for number in _NUMBER.findall(text)}
