"""Plan and execute, version 1.

A version never changes once a history was stored under it: a better one is a file of its own.
"""

from __future__ import annotations

from typing import Final, TypedDict, cast

import orjson
from pydantic import JsonValue

from astromesh_core.errors import AstromeshError, LimitExceeded
from astromesh_runtime.effects import Answer, Pattern, RunContext
from astromesh_runtime.patterns.branches import (
    answered,
    in_form,
    instructed,
    last_question,
    listed,
    side_by_side,
    worked,
)

_PLAN: Final = (
    "You plan how the task is done. Break it into at most {most} steps, as few as it needs. Each step is done by "
    "somebody who sees only that step, the task and the results of the steps that it needs. Steps that do not need "
    "each other are done at the same time. Do not do the steps yourself."
)
_STEP: Final = "You do one step of a plan. Do this step alone, and answer with its result."
_ANSWER: Final = (
    "The steps of a plan for this task are done. Answer the task from their results, without telling of the plan."
)


class Step(TypedDict):
    """A step of a plan."""

    id: str
    task: str
    needs: list[str]


class PlanFailed(LimitExceeded):
    """Steps still failed after the last plan that the agent allows."""


def plan_and_execute(run: RunContext) -> Pattern[Answer]:
    """Plans, does each step as soon as what it needs is there, plans anew where some failed, answers from the results.

    Raises PlanFailed where the last plan failed too, Unusable where the planner gives no plan.
    """
    options = orjson.loads(run.options_json)
    question = last_question(run.transcript)
    results, failures = dict[str, str](), dict[str, str]()
    for _ in range(options["max_replans"] + 1):
        plan = yield from _planned(run, question, options["max_steps"], results, failures)
        failures = yield from _executed(run, question, plan, results)
        if not failures:
            break
    else:
        raise PlanFailed(f"steps of the last plan failed: {'; '.join(map(': '.join, failures.items()))}")
    task = f"{question}\n\nResults:\n{listed(results.items())}" if results else question
    answer = run.branch(instructed(run.transcript, _ANSWER, task), answers=True)
    reply = yield from answer.model(answer.transcript, "synthesizer", offers_tools=False)
    return answered(run, reply.text)


def _planned(
    run: RunContext, question: str, most: int, results: dict[str, str], failures: dict[str, str]
) -> Pattern[list[Step]]:
    """The steps that are left to do."""
    parts = [question]
    if results:
        parts.append(f"These steps are done; name them in `needs` where they are needed:\n{listed(results.items())}")
    if failures:
        parts.append(f"These steps failed. Plan what is left in another way, with new ids:\n{listed(failures.items())}")
    planner = run.branch(instructed(run.transcript, _PLAN.format(most=most), "\n\n".join(parts)))
    value = yield from in_form(planner, _schema(most), "planner", lambda plan: _problem(plan, results))
    return _steps(value)


def _executed(run: RunContext, question: str, plan: list[Step], results: dict[str, str]) -> Pattern[dict[str, str]]:
    """Does the steps, and fills in their results. Answers which of them failed, and why."""
    left, failures = {step["id"]: step for step in plan}, dict[str, str]()
    while ready := [step for step in left.values() if all(need in results for need in step["needs"])]:
        path = run.next_path()
        parts = [_step(run, question, step, results, f"{path}.{number}") for number, step in enumerate(ready, 1)]
        for step, result in zip(ready, (yield from side_by_side(parts)), strict=True):
            del left[step["id"]]
            if isinstance(result, AstromeshError):
                failures[step["id"]] = f"{step['task']} ({result.message})"
            else:
                results[step["id"]] = result
    return failures


def _step(run: RunContext, question: str, step: Step, results: dict[str, str], path: str) -> Pattern[str]:
    needed = [(need, results[need]) for need in step["needs"]]
    task = f"The whole task: {question}\n\nYour step: {step['task']}"
    if needed:
        task = f"{task}\n\nResults that you need:\n{listed(needed)}"
    part = run.branch(instructed(run.transcript, _STEP, task), path=path)
    return (yield from worked(part, "executor"))


def _schema(most: int) -> str:
    step: JsonValue = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Short and unique, such as 1."},
            "task": {"type": "string", "description": "What is to be done, complete in itself."},
            "needs": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Ids of steps whose results it needs.",
            },
        },
        "required": ["id", "task", "needs"],
        "additionalProperties": False,
    }
    plan: JsonValue = {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": step, "minItems": 1, "maxItems": most}},
        "required": ["steps"],
        "additionalProperties": False,
    }
    return orjson.dumps(plan).decode()


def _steps(plan: JsonValue) -> list[Step]:
    return cast("list[Step]", cast("dict[str, JsonValue]", plan)["steps"])


def _problem(plan: JsonValue, results: dict[str, str]) -> str:
    """Why the steps cannot be done in any order; empty where they can."""
    steps, known = _steps(plan), set(results)
    ids = [step["id"] for step in steps]
    twice = next((each for each in ids if ids.count(each) > 1 or each in known), None)
    if twice is not None:
        return f"the id {twice!r} is given twice"
    left = {step["id"]: step["needs"] for step in steps}
    for step, needs in left.items():
        unknown = next((need for need in needs if need not in left and need not in known), None)
        if unknown is not None:
            return f"step {step!r} needs {unknown!r}, which is no step"
    while ready := [step for step, needs in left.items() if all(need in known for need in needs)]:
        known.update(ready)
        for step in ready:
            del left[step]
    return f"the steps {', '.join(map(repr, left))} need each other" if left else ""
