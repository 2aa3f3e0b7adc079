"""Pipeline, version 1. A version never changes once a history was stored under it; a better one is a new file."""

from __future__ import annotations

import orjson
from pydantic import TypeAdapter

from astromesh_core.events.contents import plain
from astromesh_core.resources.orchestration import Part
from astromesh_runtime.effects import Answer, Pattern, RunContext
from astromesh_runtime.patterns.branches import answered, instructed, last_question, worked

_STAGES = TypeAdapter(tuple[Part, ...])


def pipeline(run: RunContext) -> Pattern[Answer]:
    """Lets each stage work on the question and on what the one before it gave. The last result is the answer."""
    stages = _STAGES.validate_python(orjson.loads(run.options_json)["stages"])
    question = last_question(run.transcript)
    given = ""
    for number, stage in enumerate(stages, 1):
        given = yield from _stage(run, stage, _task(question, given), is_last=number == len(stages))
    return answered(run, given)


def _stage(run: RunContext, stage: Part, task: str, *, is_last: bool) -> Pattern[str]:
    if stage.agent is not None:
        return plain((yield from run.agent(stage.agent, task)).content)
    instruction = stage.prompt or f"You are the stage {stage.name!r} of a pipeline. Do what its name says, and no more."
    part = run.branch(instructed(run.transcript, instruction, task), answers=is_last)
    return (yield from worked(part, stage.role or "default"))


def _task(question: str, given: str) -> str:
    return f"{question}\n\nWhat the stage before you gave:\n{given}" if given else question
