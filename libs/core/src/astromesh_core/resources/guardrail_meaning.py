"""Guardrail rules on what a text means: its topic, whether it instructs the model, whether passages support it."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.guardrail_content import Keyword, PatternText
from astromesh_core.resources.spelling import Items, Spec, shaped

OnError: TypeAlias = Literal["block", "allow"]
"""What becomes of a text where the model that a rule asks is away."""

Told = Annotated[str, shaped(r"(?s)\s*\S.*", "a text", "how do I get my money back?")]
Share = Annotated[float, Field(gt=0, le=1)]
"""A cosine: 1 is the same meaning."""
ConfigPath = Annotated[
    str, shaped(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$)).+\.json", "a .json file in the config folder", "topics/support.json")
]


class Topic(Spec):
    """Something that people talk about; text alone is its name."""

    name: Told
    description: str = ""
    examples: Items[Told] = ()
    """What people say who talk about it: the more, the better it is known again."""
    keywords: Items[Keyword] = ()
    """Words that no other topic has: one of them in the text, and it is about this."""


def _topic(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Topics = Items[Annotated[Topic, BeforeValidator(_topic)]]


class TopicFilter(Spec):
    """Keeps a conversation to some topics, or away from them."""

    type: Literal["topic_filter"]
    allowed_topics: Topics = ()
    """What is about none of them is refused. Empty: everything is allowed."""
    blocked_topics: Topics = ()
    method: Literal["embeddings", "keywords", "classifier"] = "embeddings"
    threshold: Share | None = None
    """How near a text has to be to a topic; of a classifier, how sure it has to be. None: 0.33 and 0.5."""
    embeddings: EmbeddingsSpec | None = None
    """None: the model that is built in."""
    classifier: ConfigPath | None = None
    """What `astromesh guardrails train` wrote."""
    action: Literal["block", "warn"] = "block"
    on_error: OnError = "block"

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not (self.allowed_topics or self.blocked_topics):
            raise PydanticCustomError("topics", "names no topic", {"hint": "write allowed_topics or blocked_topics"})
        if (self.method == "classifier") != (self.classifier is not None):
            hint = "write method: classifier and classifier: topics/support.json, or neither"
            raise PydanticCustomError("topics", "has a method without what it needs", {"hint": hint})
        if self.method == "keywords" and (self.threshold is not None or self.embeddings is not None):
            hint = "leave out threshold and embeddings: a keyword is there or it is not"
            raise PydanticCustomError("topics", "compares no meanings by keywords", {"hint": hint})
        return self


class PromptInjection(Spec):
    """Finds text that tells the model what to do in place of those who built the agent."""

    type: Literal["prompt_injection"]
    patterns: Items[PatternText] = ()
    """Beside those that are built in; they stand in any case of letters."""
    similarity: bool = True
    """Whether sentences are compared with known attacks, too; that asks a model."""
    examples: Items[Told] = ()
    """Attacks beside those that are built in."""
    threshold: Share = 0.5
    """How surely a sentence has to be one, by what is learnt of known attacks and harmless phrases."""
    embeddings: EmbeddingsSpec | None = None
    """None: the model that is built in."""
    action: Literal["block", "redact", "warn"] = "block"
    on_error: OnError = "block"

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.similarity and (self.examples or self.embeddings is not None):
            hint = "leave out examples and embeddings, or similarity: false"
            raise PydanticCustomError("injection", "compares with nothing", {"hint": hint})
        return self


class Grounding(Spec):
    """Asks of each sentence of an answer whether what was retrieved supports it."""

    type: Literal["grounding"]
    threshold: Share = 0.6
    """How near a sentence has to be to one that was retrieved."""
    numbers: bool = True
    """Whether the numbers of a sentence have to stand in what was retrieved, too."""
    without_passages: Literal["judge", "allow"] = "judge"
    """Of an answer for which nothing was retrieved: judged, no sentence of it is supported."""
    embeddings: EmbeddingsSpec | None = None
    """None: the model that is built in."""
    action: Literal["warn", "block", "redact"] = "warn"
    on_error: OnError = "block"
