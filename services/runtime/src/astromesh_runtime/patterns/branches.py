"""What patterns are made of beside the run's own steps: parts side by side, own transcripts, replies in a form.

Like a version of a pattern, nothing here changes once a history was stored that rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar, cast

import orjson
from pydantic import JsonValue

from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER, Message, Role
from astromesh_core.answers import answer_schema
from astromesh_core.errors import AstromeshError, LimitExceeded
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import Answer, Gather, IterationsExhausted, Pattern, PatternEffect, RunContext
from astromesh_runtime.transcript import Transcript

T = TypeVar("T")

_ATTEMPTS: Final = 2


class Unusable(LimitExceeded):
    """A model did not give what the pattern needs in the form that it asked for."""


def side_by_side(parts: Sequence[Pattern[T]]) -> Pattern[list[T | AstromeshError]]:
    """Goes on with all parts at once, a round at a time: each one's next effect, then each with its outcome.

    Answers what each came to, in their order: its result, or the error that ended it.
    """
    results = dict[int, T | AstromeshError]()
    waiting = dict[int, PatternEffect]()
    try:
        for number, part in enumerate(parts):
            _advance(number, lambda part=part: next(part), waiting, results)
        while waiting:
            numbers = list(waiting)
            outcomes = cast("Sequence[object]", (yield Gather(tuple(waiting.values()))))
            waiting = dict[int, PatternEffect]()
            for number, outcome in zip(numbers, outcomes, strict=True):
                _advance(number, lambda number=number, outcome=outcome: parts[number].send(outcome), waiting, results)
    finally:
        for part in parts:
            part.close()
    return [results[number] for number in range(len(parts))]


def worked(run: RunContext, role: str = "default") -> Pattern[str]:
    """Lets a model work with the tools until it answers. Raises IterationsExhausted, EffectFailed."""
    for _ in range(run.max_iterations):
        reply = yield from run.model(run.transcript, role)
        if not reply.tool_calls:
            return reply.text
        yield from run.tools(reply.tool_calls)
    raise IterationsExhausted(run.max_iterations)


def in_form(
    run: RunContext, schema: str, role: str, check: Callable[[JsonValue], str] = lambda value: ""
) -> Pattern[JsonValue]:
    """Asks a model for JSON that matches the schema and passes the check (which says what is wrong); once more, told
    what is wrong. It is offered no tools. Raises Unusable, EffectFailed."""
    problem = ""
    for _ in range(_ATTEMPTS):
        reply = yield from run.model(run.transcript, role, offers_tools=False, schema=schema)
        problems = answer_schema(schema).problems(reply.text)
        value: JsonValue = None if problems else orjson.loads(reply.text)
        problem = "; ".join(problems) or check(value)
        if not problem:
            return value
        run.transcript = run.transcript.plus(
            said(ROLE_USER, f"That cannot be used: {problem}. Answer with JSON alone.")
        )
    raise Unusable(f"the {role} gave nothing that can be used: {problem}")


def instructed(asked: Transcript, text: str, question: str | None = None) -> Transcript:
    """The transcript of a run with an instruction at the end of its system prompt, and with another last question."""
    messages = list(asked.messages)
    prompt = plain(messages.pop(0).content) if messages[0].role == ROLE_SYSTEM else ""
    if question is not None:
        last = Message(role=ROLE_USER, content=text_content(question), images=messages[-1].images)
        messages[-1] = last
    prompt = "\n\n".join(filter(None, (prompt, text)))
    return Transcript.of(asked.digester, [said(ROLE_SYSTEM, prompt), *messages] if prompt else messages)


def said(role: Role.ValueType, text: str) -> Message:
    """A message of this text."""
    return Message(role=role, content=text_content(text))


def last_question(asked: Transcript) -> str:
    """What the user asked."""
    return plain(asked.messages[-1].content)


def answered(run: RunContext, text: str) -> Answer:
    """The run's answer, at the end of its transcript too."""
    run.transcript = run.transcript.plus(said(ROLE_ASSISTANT, text))
    return Answer(text)


def listed(parts: Iterable[tuple[str, str]]) -> str:
    """Texts under headings."""
    return "\n\n".join(f"[{heading}]\n{text}" for heading, text in parts)


def _advance(
    number: int,
    step: Callable[[], PatternEffect],
    waiting: dict[int, PatternEffect],
    results: dict[int, T | AstromeshError],
) -> None:
    try:
        waiting[number] = step()
    except StopIteration as stop:
        results[number] = stop.value
    except AstromeshError as error:
        results[number] = error
