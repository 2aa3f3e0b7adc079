"""A run from its question to its end, as one generator of effects around the agent's pattern. Pure.

check input ▸ assemble context ▸ the pattern's effects ▸ once more where the answer misses its schema ▸ check output
▸ remember ▸ end
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from astromesh.v1.run_events_pb2 import (
    ContextAssembled,
    InputChecked,
    MemoryStored,
    ModelReplied,
    OutputChecked,
    ToolArgumentsChecked,
    ToolResultChecked,
)
from astromesh.v1.values_pb2 import (
    ROLE_SYSTEM,
    ROLE_USER,
    VERDICT_ACTION_BLOCK,
    Failure,
    Image,
    Message,
    Passage,
    Role,
    Verdict,
)
from astromesh_core.errors import AstromeshError, Bug, PolicyRefused
from astromesh_core.events.canonical import KeyedDigest
from astromesh_core.events.contents import plain, text_content
from astromesh_runtime.effects import (
    AssembleContext,
    CheckInput,
    CheckOutput,
    EffectFailed,
    PatternFunction,
    Remember,
    RememberSummary,
    RunContext,
    SagaEffect,
    ToolOutcome,
)
from astromesh_runtime.folding import fold_call, with_summary
from astromesh_runtime.guarding import Guard, Guarded
from astromesh_runtime.handing_over import HandedOver
from astromesh_runtime.matching import AnswerMismatch, matching_answer, mismatches
from astromesh_runtime.transcript import Transcript
from astromesh_runtime.turns import turn_of

MAX_SOURCES = 20
"""Passages kept as an answer's sources, best first."""

Outcome: TypeAlias = (
    InputChecked
    | ContextAssembled
    | ModelReplied
    | Sequence[ToolArgumentsChecked]
    | Sequence[ToolOutcome]
    | Sequence[ToolResultChecked | None]
    | OutputChecked
    | MemoryStored
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the saga must know of its run: all of it stands in `requested` and in the agent that `started` pins."""

    query: str
    digester: KeyedDigest
    pattern: str
    """Its name and version, for who reads why a run failed."""
    max_iterations: int
    tools_sha256: bytes
    checks_input: bool
    checks_output: bool
    remembers: bool
    remembers_tools: bool = False
    """Of runs of earlier releases only question and answer are."""
    given: tuple[Message, ...] = ()
    """The transcript that the caller brought, without its last user message."""
    images: tuple[Image, ...] = ()
    """Pictures that go with the query."""
    output_schema_json: str = ""
    """What the answer has to match; empty: free text."""
    agents: Mapping[str, str] = field(default_factory=dict[str, str])
    """The tools that are agents, and whom each runs."""
    handoffs: tuple[str, ...] = ()
    """The agents that the conversation may be handed to."""
    options_json: str = ""
    """Of its pattern."""
    guarded: Guarded = field(default_factory=Guarded)
    """What stands between the run and its tools."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The run answered."""

    answer: str
    sources: tuple[Passage, ...]
    handed_to: str = ""
    """The agent that goes on instead; the answer says why."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended without an answer."""

    failure: Failure
    imposed: bool = False
    """The runtime ended it (a limit, a service away, a fault of its own), not what the pattern asked for."""
    cause: Exception | None = field(default=None, compare=False)
    """What a faulty pattern raised: for the process's own log, and for no event."""


Ending: TypeAlias = Completed | Failed


def saga(plan: Plan, pattern: PatternFunction) -> Generator[SagaEffect, Outcome, Ending]:
    """Everything a run does, in order. Never raises for what happens to the run: that is a Failed ending."""
    query, guard = plan.query, plan.guarded.guard()
    if plan.checks_input:
        checked = cast("InputChecked", (yield CheckInput(query)))
        if checked.blocked:
            return _refused("the question", checked.verdicts)
        query = plain(checked.text)
        guard.learn(checked.masked)
    context = cast("ContextAssembled", (yield AssembleContext(query)))
    guard.learn(context.masked)
    summary, history = yield from _folded(plan, guard, context)
    prompt = guard.instructed(with_summary(plain(context.system_prompt), summary))
    given = tuple(context.given) if plan.guarded.masks else plan.given
    asked = _transcript(plan, query, prompt, [*map(guard.marked, history), *given])
    run = RunContext(
        asked,
        plan.digester,
        plan.max_iterations,
        plan.tools_sha256,
        plan.output_schema_json,
        [*context.passages],
        plan.agents,
        plan.handoffs,
        guard if plan.guarded.is_needed else None,
        plan.options_json,
    )
    text = yield from _answered(plan, pattern, run, guard)
    if not isinstance(text, str):
        return text
    if plan.checks_output:
        checked = cast("OutputChecked", (yield CheckOutput(text, tuple(run.sources))))
        if checked.blocked:
            return _refused("the answer", checked.verdicts)
        text = plain(checked.text)
        if problems := mismatches(plan.output_schema_json, guard.restored(text, in_json=True)):
            return Failed(failure_of(AnswerMismatch(problems, "as its guardrails left it")))
    answer = guard.restored(text, in_json=bool(plan.output_schema_json))
    if plan.remembers:
        told = run.transcript.messages[len(asked.messages) :] if plan.remembers_tools else ()
        yield Remember(turn_of(guard.restored(query), list(map(guard.remembered, told)), answer))
    return Completed(answer, tuple(map(guard.shown, _distinct(run.sources))))


def _answered(
    plan: Plan, pattern: PatternFunction, run: RunContext, guard: Guard
) -> Generator[SagaEffect, Any, str | Ending]:
    """What the pattern answers, or how the run ends without."""
    try:
        return guard.unmarked((yield from matching_answer(pattern, run)))
    except HandedOver as handed:
        return Completed(guard.restored(handed.reason), _distinct(run.sources), handed.agent)
    except EffectFailed as error:
        return Failed(error.failure)
    except AstromeshError as error:
        return Failed(failure_of(error))
    except Exception as error:  # noqa: BLE001 - the edge to patterns: the run ends, its replay comes to the same end
        return Failed(failure_of(Bug(f"the pattern {plan.pattern} raised {type(error).__name__}")), cause=error)


def failure_of(error: AstromeshError) -> Failure:
    """An error as an event keeps it: its class and its message, never a stack."""
    retry_after = int(error.retry_after * 1000) if error.retry_after is not None else 0
    return Failure(error_class=error.code, message=text_content(error.message), retry_after_ms=retry_after)


def _folded(
    plan: Plan, guard: Guard, context: ContextAssembled
) -> Generator[SagaEffect, Outcome, tuple[str, Sequence[Message]]]:
    """What the session's older turns come to, and those that are told as they were."""
    if not context.HasField("to_fold"):
        return plain(context.summary), context.history
    replied = cast("ModelReplied", (yield fold_call(plan.digester, context)))
    text = plain(replied.message.content).strip() if replied.HasField("message") else ""
    if not text:
        # Nothing is lost: these turns are told as they were, and the next run tries again.
        return plain(context.summary), [*context.to_fold.messages, *context.history]
    yield RememberSummary(guard.restored(text), context.to_fold.through_run_id)
    return text, context.history


def _transcript(plan: Plan, query: str, prompt: str, history: Sequence[Message]) -> Transcript:
    messages = list[Message]()
    if prompt:
        messages.append(_said(ROLE_SYSTEM, prompt))
    messages.extend(history)
    messages.append(Message(role=ROLE_USER, content=text_content(query), images=plan.images))
    return Transcript.of(plan.digester, messages)


def _said(role: Role.ValueType, text: str) -> Message:
    return Message(role=role, content=text_content(text))


def _refused(what: str, verdicts: Sequence[Verdict]) -> Failed:
    rules = ", ".join(verdict.rule for verdict in verdicts if verdict.action == VERDICT_ACTION_BLOCK)
    return Failed(failure_of(PolicyRefused(f"{what} was refused by the agent's guardrail {rules}")))


def _distinct(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    by_id = {passage.id: passage for passage in reversed(passages)}
    best = sorted(by_id.values(), key=lambda passage: (-passage.score, passage.id))
    return tuple(best[:MAX_SOURCES])
