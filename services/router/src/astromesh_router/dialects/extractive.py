"""The model for machines that have none: it searches with the user's question and quotes what is nearest, with sources.

Rules: with a retrieval tool and no result since the last question, it calls that tool with the question; with results,
it answers with the sentences nearest to the question, or says that none is near. It generates nothing, and says so.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import ROLE_TOOL, ROLE_USER, Message, ToolSpec
from astromesh_core.errors import InvalidInput, NotSupported
from astromesh_core.events.contents import plain
from astromesh_core.untrusted import unmarked
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.decoding import (
    JsonObject,
    Malformed,
    as_list,
    as_object,
    as_text,
    json_object,
)
from astromesh_router.dialects.port import Part, Reply, WrittenCall
from astromesh_router.failures import failed
from astromesh_vectors.nearest import best, vector_scores, word_scores
from astromesh_vectors.ports import Embedder
from astromesh_vectors.sentences import sentences

QUOTED = 4
"""Sentences in an answer, at most."""

LEAST_SIMILAR = 0.35
"""Cosine of MiniLM, or share of the question's words: below it a sentence does not speak of the question."""

NEAR_THE_BEST = 0.7
"""A further sentence is quoted only from this share of the best one's score on."""

SHORTEST = 4
"""Words. Anything shorter is a label, not a statement."""

QUESTION_NAMES = ("query", "question", "q", "text", "input")

OTHER_MODEL = "add a model that generates text"
NOTE = "(Quoted word for word: the extractive provider generates no text.)"
NOTHING_NEAR = (
    "I found nothing in the documents that is near enough to this question. "
    "(The extractive provider quotes documents; it generates no text.)"
)
NO_TOOL = (
    "I can only quote documents, and this agent gives me nothing to search: it has no retrieval tool. "
    "Add a tool of type rag to the agent, or a model that generates text."
)


@dataclass(frozen=True)
class Quotable:
    """A sentence and the source that it stands in."""

    text: str
    source: str


class Extractive:
    """Answers by quoting. `embedder` is asked for when first needed; without its weights, shared words decide."""

    def __init__(self, embedder: Callable[[], Embedder]) -> None:
        self._embedder = embedder

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        del prefill  # its profile continues nothing
        if request.output_schema_json:
            raise failed(candidate, InvalidInput, "quotes sentences, and can match no schema", advice=OTHER_MODEL)
        question, results = latest_turn(request.messages)
        tool = next((tool for tool in request.tools if tool.retrieves), None)
        if tool is not None and not results:
            call = WrittenCall("", tool.name, arguments(tool, question))
            yield Reply("", (call,), "tool_calls", None)
            return
        text = await self._answer(question, results) if results else NO_TOOL
        for word in re.findall(r"\s*\S+", text):
            yield word
        yield Reply(text, (), "stop", None)

    async def models(self, candidate: Candidate) -> list[str]:
        """The only model there is; it is always at hand."""
        return [candidate.model]

    async def _answer(self, question: str, results: Sequence[Message]) -> str:
        offered = [quotable for message in results for quotable in quotables(message)]
        chosen = [offered[index] for index in await self._nearest(question, [each.text for each in offered])]
        if not chosen:
            return NOTHING_NEAR
        quotes = "\n\n".join(f"{quotable.text} [{quotable.source}]" for quotable in chosen)
        return f"{quotes}\n\n{NOTE}"

    async def _nearest(self, question: str, texts: list[str]) -> list[int]:
        if not texts:
            return []
        scores = await self._scores(question, texts)
        return best(texts, scores, QUOTED, max(LEAST_SIMILAR, NEAR_THE_BEST * max(scores)))

    async def _scores(self, question: str, texts: list[str]) -> list[float]:
        try:
            vectors = await self._embedder().embed([question, *texts])
        except NotSupported:
            return word_scores(question, texts)
        return vector_scores(vectors[0], vectors[1:])


def latest_turn(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """The last question and the tools' answers since."""
    results: list[Message] = []
    for message in reversed(messages):
        if message.role == ROLE_USER:
            return plain(message.content), results[::-1]
        if message.role == ROLE_TOOL:
            results.append(message)
    return "", results[::-1]


def arguments(tool: ToolSpec, question: str) -> str:
    """The JSON arguments that put the question to a retrieval tool, under the name that its schema gives it."""
    return orjson.dumps({question_name(tool): question}).decode()


def question_name(tool: ToolSpec) -> str:
    """The parameter that takes the question: a usual name, else the first text that is required."""
    try:
        schema = json_object(tool.parameters_json.encode())
    except Malformed:
        return QUESTION_NAMES[0]
    properties = as_object(schema.get("properties"))
    usual = [name for name in QUESTION_NAMES if name in properties]
    required = [as_text(name) for name in as_list(schema.get("required"))]
    texts = [name for name in required if as_object(properties.get(name)).get("type") == "string"]
    return next(iter([*usual, *texts]), QUESTION_NAMES[0])


def quotables(message: Message) -> Iterator[Quotable]:
    """The sentences of a tool's answer: of its passages, or of its text where it is no list of passages."""
    for source, text in passages(message):
        for sentence in sentences(text):
            if is_statement(sentence.text, cut=sentence.start == 0):
                yield Quotable(sentence.text, source)


def passages(message: Message) -> Iterator[tuple[str, str]]:
    """Source and text of each passage in `{"passages": [{"source", "text", …}]}`."""
    text = unmarked(plain(message.content))
    try:
        body: JsonObject = json_object(text.encode())
    except Malformed:
        yield message.name, text
        return
    for entry in as_list(body.get("passages")):
        passage = as_object(entry)
        yield as_text(passage.get("source")) or message.name, as_text(passage.get("text"))


def is_statement(text: str, *, cut: bool) -> bool:
    """Whether a sentence says something by itself: no label, no question, not the rest of one that was cut off."""
    return len(text.split()) >= SHORTEST and not text.endswith("?") and not (cut and text[0].islower())
