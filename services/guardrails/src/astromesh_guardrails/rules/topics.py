"""The rule `topic_filter` by words and by meaning. That by a trained classifier stands in `trained_topics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from astromesh_core.resources.guardrail_meaning import Topic, TopicFilter
from astromesh_guardrails.long_texts import worked_on
from astromesh_guardrails.pieces import Piece, has_words, pieces
from astromesh_guardrails.rules.acting import allowed, refused
from astromesh_guardrails.rules.port import Applied, AskingRule, Judged
from astromesh_guardrails.sources import BUILT_IN, Sources
from astromesh_native.keywords import Matcher, matcher
from astromesh_native.spans import Span

THRESHOLD: Final = 0.33
"""Unless told otherwise: tuned on the questions of bench/labelled/topics.txt."""

NAME: Final = "topic_filter"
OFF_TOPIC: Final = "OFF_TOPIC"
_LONGEST_WHOLE: Final = 2_000
"""Characters of a text that is also taken as a whole: what MiniLM reads at once, and more."""


class Found(NamedTuple):
    """What a text is about."""

    blocked: list[Span]
    """Where it is about blocked topics, each named by the kind."""
    is_allowed: bool
    """It is about an allowed topic, or all are."""


def about(topic: str) -> str:
    """The kind of a finding that is about this topic."""
    return f"TOPIC:{topic}"


def parts_of(text: str) -> list[Piece]:
    """The text as a whole and by its pieces; none where there is no letter in it."""
    found = pieces(text)
    if len(found) > 1:
        start = found[0].start
        found.insert(0, Piece(start, found[-1].end, text[start : start + _LONGEST_WHOLE]))
    return found


def ruled(action: str, text: str, found: Found) -> Applied:
    """What becomes of the text."""
    if found.blocked:
        spans = _narrowest(found.blocked)
        topics = ", ".join(dict.fromkeys(span.kind.partition(":")[2] for span in spans))
        return refused(NAME, action, text, spans, f"this agent does not speak of {topics}; ask about something else.")
    if not found.is_allowed:
        why = "this is about nothing that this agent speaks of; ask about one of its topics."
        return refused(NAME, action, text, [Span(0, len(text), OFF_TOPIC)], why)
    return allowed(NAME, text)


class TopicWords:
    """What a text is about by the words in it."""

    def __init__(self, spec: TopicFilter, *, by_name: bool) -> None:
        """`by_name`: the name of a topic without keywords is its keyword."""
        self._blocked = _matchers(spec.blocked_topics, by_name=by_name)
        self._allowed = _matchers(spec.allowed_topics, by_name=by_name)
        self._restricts = bool(spec.allowed_topics)

    def find(self, text: str) -> Found:
        """What this text is about."""
        blocked = [Span(*place, about(name)) for name, words in self._blocked for place in words.find(text)]
        return Found(blocked, not self._restricts or any(words.find(text) for _, words in self._allowed))


class TopicWordsRule:
    """Judges by keywords alone: at once, and asks no model. A text without letters is about nothing and passes."""

    name = NAME

    def __init__(self, spec: TopicFilter) -> None:
        self._action = spec.action
        self._words = TopicWords(spec, by_name=True)

    def apply(self, text: str) -> Applied:
        """See Rule."""
        return ruled(self._action, text, self._words.find(text)) if has_words(text) else allowed(NAME, text)


class TopicMeaningRule(AskingRule):
    """Judges by how near the text, or a sentence of it, comes to a topic's name, description and examples.

    A sentence belongs to the topic that it is nearest to. A text without letters is about nothing and passes.
    """

    name = NAME

    def __init__(self, spec: TopicFilter, sources: Sources) -> None:
        super().__init__(spec.on_error)
        self._action = spec.action
        self._threshold = THRESHOLD if spec.threshold is None else spec.threshold
        self._words = TopicWords(spec, by_name=False)
        topics = [(topic, False) for topic in spec.blocked_topics] + [(topic, True) for topic in spec.allowed_topics]
        told = [(topic.name, is_allowed, text) for topic, is_allowed in topics for text in _told(topic)]
        self._topics = [(name, is_allowed) for name, is_allowed, _ in told]
        self._likeness = sources.likenesses.of(spec.embeddings or BUILT_IN, [text for *_, text in told])

    async def prepare(self) -> None:
        """See AskingRule."""
        await self._likeness.prepare()

    async def judge(self, judged: Judged) -> Applied:
        """See AskingRule."""
        text = judged.text
        parts = await worked_on(text, parts_of)
        return ruled(self._action, text, await self._found(text, parts)) if parts else allowed(NAME, text)

    async def _found(self, text: str, parts: Sequence[Piece]) -> Found:
        blocked, is_allowed = self._words.find(text)
        nearness = await self._likeness.nearness([part.text for part in parts])
        for part, cosines in zip(parts, nearness, strict=True):
            nearest = int(cosines.argmax())
            if cosines[nearest] < self._threshold:
                continue
            name, permits = self._topics[nearest]
            if permits:
                is_allowed = True
            else:
                blocked.append(Span(part.start, part.end, about(name)))
        return Found(blocked, is_allowed)


def _narrowest(spans: Sequence[Span]) -> list[Span]:
    """In order of place, without the whole text where a sentence of it says the same."""
    found = sorted(set(spans))
    return [
        it
        for it in found
        if not any(
            it != other and it.kind == other.kind and it.start <= other.start <= other.end <= it.end for other in found
        )
    ]


def _matchers(topics: Sequence[Topic], *, by_name: bool) -> list[tuple[str, Matcher]]:
    found: list[tuple[str, Matcher]] = []
    for topic in topics:
        words = topic.keywords or ((" ".join(topic.name.split()),) if by_name else ())
        if words:
            found.append((topic.name, matcher(words)))
    return found


def _told(topic: Topic) -> list[str]:
    named = f"{topic.name}: {topic.description}" if topic.description else topic.name
    return [named, *topic.examples]
