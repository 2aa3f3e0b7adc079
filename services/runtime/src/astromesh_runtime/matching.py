"""An answer that has to match a schema: where it does not, the model is told exactly what is wrong and asked once more.

Pure: what is wrong follows from the answer alone, so a replay asks the same again. A run without a schema passes by.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Message
from astromesh_core.answers import answer_schema
from astromesh_core.errors import LimitExceeded
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import PatternFunction, RunContext
from astromesh_runtime.transcript import Transcript


class AnswerMismatch(LimitExceeded):
    """The answer misses its schema, and nothing more is tried."""

    def __init__(self, problems: Sequence[str], which: str) -> None:
        super().__init__(f"the answer does not match its schema, {which}: {'; '.join(problems)}")


def mismatches(schema_json: str, answer: str) -> list[str]:
    """What is wrong with an answer by its schema; nothing where it has none."""
    return answer_schema(schema_json).problems(answer) if schema_json else []


def matching_answer(pattern: PatternFunction, run: RunContext) -> Generator[Any, Any, str]:
    """The pattern's answer where it matches the run's schema, else what the model says once it is told what is wrong.

    That call offers no tools: then a grammar can hold the model to the schema wherever its vendor has one. Raises
    AnswerMismatch, and what the pattern raises.
    """
    text = (yield from pattern(run)).text
    problems = _problems(run, text)
    if not problems:
        return text
    transcript = _with_answer(run.transcript, text).plus(_told(problems))
    reply = yield from run.model(transcript, offers_tools=False)
    left = _problems(run, reply.text)
    if left:
        raise AnswerMismatch(left, "though the model was told how")
    return reply.text


def _problems(run: RunContext, text: str) -> list[str]:
    """What is wrong with an answer as its user would read it, told as a model may read it."""
    if run.guard is None:
        return mismatches(run.output_schema_json, text)
    return [*map(run.guard.hidden, mismatches(run.output_schema_json, run.guard.restored(text, in_json=True)))]


def _with_answer(transcript: Transcript, text: str) -> Transcript:
    """The transcript with the answer at its end, wherever the pattern took that from."""
    last = transcript.messages[-1] if transcript.messages else None
    if last is not None and last.role == ROLE_ASSISTANT and plain(last.content) == text and not last.tool_calls:
        return transcript
    return transcript.plus(Message(role=ROLE_ASSISTANT, content=text_content(text)))


def _told(problems: Sequence[str]) -> Message:
    listed = "\n".join(f"- {problem}" for problem in problems)
    text = (
        f"Your answer does not match the JSON Schema that it has to match:\n{listed}\n"
        "Answer again with the whole, corrected JSON and nothing else."
    )
    return Message(role=ROLE_USER, content=text_content(text))
