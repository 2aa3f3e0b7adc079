"""The rule `topic_filter` by a trained classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.guardrail_meaning import TopicFilter
from astromesh_guardrails.classifier import SURE, read_classifier
from astromesh_guardrails.long_texts import worked_on
from astromesh_guardrails.pieces import Piece
from astromesh_guardrails.rules.acting import allowed
from astromesh_guardrails.rules.port import Applied, AskingRule, Judged
from astromesh_guardrails.rules.topics import NAME, Found, TopicWords, about, parts_of, ruled
from astromesh_guardrails.sources import Sources
from astromesh_native.spans import Span


class TrainedTopicsRule(AskingRule):
    """Judges by what a classifier says of the text and of its sentences. A text without letters is about nothing."""

    name = NAME

    def __init__(self, spec: TopicFilter, sources: Sources) -> None:
        """Raises NotFound for a file that is not there, InvalidInput for one that does not hold the rule's topics."""
        super().__init__(spec.on_error)
        self._action = spec.action
        self._sure = SURE if spec.threshold is None else spec.threshold
        self._words = TopicWords(spec, by_name=False)
        self._embedder = sources.likenesses.embedder
        self._classifier = read_classifier(sources.config_dir, spec.classifier or "")
        self.sha256 = hashlib.sha256(self._classifier.to_json().encode()).digest()
        """Of what was trained."""
        known = self._classifier.topics
        unknown = [it.name for it in (*spec.allowed_topics, *spec.blocked_topics) if it.name not in known]
        if unknown:
            raise InvalidInput(f"{spec.classifier} knows nothing of {', '.join(unknown)}; it knows {', '.join(known)}")
        self._blocked = [known.index(it.name) for it in spec.blocked_topics]
        self._allowed = [known.index(it.name) for it in spec.allowed_topics]

    async def prepare(self) -> None:
        """See AskingRule."""
        embedder = await self._embedder(self._classifier.embeddings)
        await embedder.check()
        self._classifier.check(embedder.dimension)

    async def judge(self, judged: Judged) -> Applied:
        """See AskingRule."""
        parts = await worked_on(judged.text, parts_of)
        if not parts:
            return allowed(NAME, judged.text)
        return ruled(self._action, judged.text, await self._found(judged.text, parts))

    async def _found(self, text: str, parts: Sequence[Piece]) -> Found:
        blocked, is_allowed = self._words.find(text)
        embedder = await self._embedder(self._classifier.embeddings)
        sure = self._classifier.sureness(await embedder.embed([part.text for part in parts])) >= self._sure
        for part, row in zip(parts, sure, strict=True):
            topics = self._classifier.topics
            blocked += [Span(part.start, part.end, about(topics[it])) for it in self._blocked if row[it]]
        return Found(blocked, is_allowed or bool(sure[:, self._allowed].any()))
