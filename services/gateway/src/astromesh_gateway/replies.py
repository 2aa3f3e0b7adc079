"""Runs as JSON: what every surface answers. Times in ISO 8601 (UTC), durations in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NotRequired

import orjson
from pydantic import JsonValue
from typing_extensions import TypedDict

from astromesh.v1.runs_pb2 import (
    RUN_STATUS_CANCELLED,
    RUN_STATUS_COMPLETED,
    STEP_KIND_AGENT,
    STEP_KIND_TOOL,
    STEP_STATUS_RUNNING,
    Feedback,
    Run,
    Step,
    StepStatus,
)
from astromesh.v1.values_pb2 import Content, Failure, Passage, Route, RouteStep, Usage
from astromesh_core.answers import parsed_answer
from astromesh_core.errors import ERRORS, AstromeshError, Bug, Cancelled
from astromesh_core.events.runs import STATUS_NAMES
from astromesh_gateway.approval_replies import ApprovalReply, approval_contents, approval_reply
from astromesh_gateway.shown import moment, shown

NANOS = 1_000_000_000

_STEP_KINDS = {STEP_KIND_TOOL: "tool", STEP_KIND_AGENT: "agent"}

_STEP_STATUSES = {number: name.removeprefix("STEP_STATUS_").lower() for name, number in StepStatus.items()}


class UsageReply(TypedDict):
    """Tokens of model calls and their price; `estimated` where a provider reported none. What a provider put into its
    cache, and billed apart, is part of the input."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_written_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_usd: float


class FailureReply(TypedDict):
    """A definite failure: the error's class and what it said."""

    error: str
    message: str


class CandidateReply(TypedDict):
    """A model that a call could go to: `answered`, `failed` or `not asked`, and why."""

    provider: str
    model: str
    endpoint: NotRequired[str]
    outcome: str
    reason: str
    error: NotRequired[str]


class RouteReply(TypedDict):
    """Which models there were for a call, in the order in which they were asked, and by which strategy."""

    strategy: str
    candidates: list[CandidateReply]


class StepReply(TypedDict):
    """One effect and what came of it. Of a model call, `route` says why it went where it went, and `finish_reason` why
    the model ended its reply: `stop`, `tool_calls`, or what cut it off, `length` or `content_filter`. Of a tool,
    `whole_bytes` is there where the model read the beginning of a larger result, `cached` where it is an earlier one;
    of an agent that was asked, `child_run_id` is its run; `simulated` where a fork did not make the call.
    """

    path: str
    kind: str
    name: str
    status: str
    input: NotRequired[str]
    output: NotRequired[str]
    whole_bytes: NotRequired[int]
    cached: NotRequired[bool]
    reasoning: NotRequired[str]
    finish_reason: NotRequired[str]
    failure: NotRequired[FailureReply]
    started_at: NotRequired[str]
    duration_ms: NotRequired[float]
    usage: NotRequired[UsageReply]
    route: NotRequired[RouteReply]
    child_run_id: NotRequired[str]
    simulated: NotRequired[bool]


class ForkedReply(TypedDict):
    """Whose past a fork shares, and up to which event."""

    run_id: str
    at: int


class SourceReply(TypedDict):
    """A passage that the answer rests on."""

    id: str
    source: str
    start: int
    end: int
    headings: list[str]
    text: str
    score: float
    metadata: NotRequired[dict[str, JsonValue]]


class RunReply(TypedDict):
    """A run as it stands. `data` is the answer, parsed, where the run has a schema for it; `finish_reason` is the last
    model reply's, so that an answer which was cut off tells it; `warnings` say what the answer lacks, such as what the
    session remembers while its memory is away."""

    run_id: str
    session_id: str
    agent: str
    status: str
    answer: str | None
    data: NotRequired[JsonValue]
    steps: list[StepReply]
    usage: UsageReply
    sources: list[SourceReply]
    cost: float
    finish_reason: NotRequired[str]
    warnings: NotRequired[list[str]]
    failure: NotRequired[FailureReply]
    waiting_for: NotRequired[str]
    waiting_path: NotRequired[str]
    approvals: NotRequired[list[ApprovalReply]]
    parent: NotRequired[ParentReply]
    forked_from: NotRequired[ForkedReply]
    children_cost: NotRequired[float]


class ParentReply(TypedDict):
    """The run that started a child, at which of its steps, and the first of all runs above it."""

    run_id: str
    path: str
    root_run_id: str
    depth: int


class FeedbackReply(TypedDict):
    """What somebody says of a run: 1 good, -1 bad, 0 neither."""

    rating: int
    comment: str
    principal: str
    time: str


class RunRecord(RunReply):
    """A run with what its readers want to know beside its answer."""

    namespace: str
    query: str
    principal: str
    events: int
    traceparent: str
    requested_at: NotRequired[str]
    started_at: NotRequired[str]
    ended_at: NotRequired[str]
    feedback: NotRequired[list[FeedbackReply]]


def run_reply(run: Run) -> RunReply:
    """What the plain call answers, and `done` carries. Stored contents have to be fetched before."""
    reply = RunReply(
        run_id=run.run_id,
        session_id=shown(run.session_id),
        agent=run.agent,
        status=STATUS_NAMES.get(run.status, "queued"),
        answer=shown(run.answer) if run.HasField("answer") else None,
        steps=[step_reply(step) for step in run.steps],
        usage=usage_reply(run.usage, run.cost_nanos),
        sources=[source_reply(passage) for passage in run.sources],
        cost=run.cost_nanos / NANOS,
    )
    if run.structured and run.status == RUN_STATUS_COMPLETED:
        reply["data"] = parsed_answer(reply["answer"] or "")
    if run.finish_reason:
        reply["finish_reason"] = run.finish_reason
    if run.warnings:
        reply["warnings"] = list(run.warnings)
    if run.HasField("failure"):
        reply["failure"] = failure_reply(run.failure)
    if run.waiting_for:
        reply["waiting_for"] = run.waiting_for
    if run.waiting_path:
        reply["waiting_path"] = run.waiting_path
    if run.approvals:
        reply["approvals"] = [approval_reply(run.run_id, approval) for approval in run.approvals]
    _tell_others(reply, run)
    return reply


def _tell_others(reply: RunReply, run: Run) -> None:
    """The runs that this one comes from, and what those below it cost."""
    if run.parent_run_id:
        reply["parent"] = ParentReply(
            run_id=run.parent_run_id, path=run.parent_path, root_run_id=run.root_run_id, depth=run.depth
        )
    if run.forked_run_id:
        reply["forked_from"] = ForkedReply(run_id=run.forked_run_id, at=run.forked_index)
    if run.children_cost_nanos:
        reply["children_cost"] = run.children_cost_nanos / NANOS


def run_record(run: Run) -> RunRecord:
    """A run for those who look it up."""
    record = RunRecord(
        **run_reply(run),
        namespace=run.namespace,
        query=shown(run.query),
        principal=run.principal,
        events=run.events,
        traceparent=run.traceparent,
    )
    if run.requested_unix_nano:
        record["requested_at"] = moment(run.requested_unix_nano)
    if run.started_unix_nano:
        record["started_at"] = moment(run.started_unix_nano)
    if run.ended_unix_nano:
        record["ended_at"] = moment(run.ended_unix_nano)
    if run.feedback:
        record["feedback"] = [feedback_reply(said) for said in run.feedback]
    return record


def step_reply(step: Step) -> StepReply:
    """A step as it stands."""
    reply = StepReply(
        path=step.path,
        kind=_STEP_KINDS.get(step.kind, "model"),
        name=step.name,
        status=_STEP_STATUSES[step.status],
    )
    if step.HasField("input"):
        reply["input"] = shown(step.input)
    if step.HasField("output"):
        _tell_output(reply, step)
    _tell_model(reply, step)
    if step.HasField("failure"):
        reply["failure"] = failure_reply(step.failure)
    if step.timing.start_unix_nano:
        reply["started_at"] = moment(step.timing.start_unix_nano)
    if step.status != STEP_STATUS_RUNNING:
        reply["duration_ms"] = step.timing.duration_nano / 1e6
    if step.child_run_id:
        reply["child_run_id"] = step.child_run_id
    return reply


def _tell_model(reply: StepReply, step: Step) -> None:
    if step.reasoning:
        reply["reasoning"] = "".join(map(shown, step.reasoning))
    if step.finish_reason:
        reply["finish_reason"] = step.finish_reason
    if step.HasField("usage"):
        reply["usage"] = usage_reply(step.usage, step.cost_nanos)
    if step.HasField("route"):
        reply["route"] = route_reply(step.route)


def _tell_output(reply: StepReply, step: Step) -> None:
    reply["output"] = shown(step.output)
    if step.HasField("whole"):
        reply["whole_bytes"] = step.whole.size_bytes
    if step.cached:
        reply["cached"] = True
    if step.simulated:
        reply["simulated"] = True


def route_reply(route: Route) -> RouteReply:
    """Every candidate of a model call with what became of it."""
    return RouteReply(strategy=route.strategy, candidates=[_candidate(step) for step in route.steps])


def source_reply(passage: Passage) -> SourceReply:
    """A passage with its place, and what filters see of it."""
    reply = SourceReply(
        id=passage.id,
        source=passage.source,
        start=passage.start,
        end=passage.end,
        headings=list(passage.headings),
        text=shown(passage.text),
        score=passage.score,
    )
    if passage.metadata_json:
        reply["metadata"] = orjson.loads(passage.metadata_json)
    return reply


def usage_reply(usage: Usage, cost_nanos: int) -> UsageReply:
    """Tokens, and their price in US dollars."""
    return UsageReply(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_written_tokens=usage.cache_written_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=usage.estimated,
        cost_usd=cost_nanos / NANOS,
    )


def failure_reply(failure: Failure) -> FailureReply:
    """A failure."""
    return FailureReply(error=failure.error_class, message=shown(failure.message))


def failure_error(run: Run) -> AstromeshError:
    """The error that a run which ended without an answer means to its caller."""
    if run.status == RUN_STATUS_CANCELLED:
        return Cancelled(f"run {run.run_id} was cancelled")
    failure = run.failure
    kind = ERRORS.get(failure.error_class, Bug)
    delay = failure.retry_after_ms / 1000 if failure.retry_after_ms else None
    return kind(shown(failure.message) or f"the run ended as {STATUS_NAMES.get(run.status)}", retry_after=delay)


def contents(run: Run) -> Iterator[Content]:
    """The contents that a reply shows. Looking at these costs a quarter of walking the whole message."""
    yield from (run.session_id, run.query, run.answer, run.failure.message)
    for step in run.steps:
        yield from (step.input, step.output, *step.reasoning, step.failure.message)
    for passage in run.sources:
        yield passage.text
    yield from approval_contents(run)


def feedback_reply(said: Feedback) -> FeedbackReply:
    """What somebody says of a run."""
    return FeedbackReply(
        rating=said.rating, comment=shown(said.comment), principal=said.principal, time=moment(said.time_unix_nano)
    )


def _candidate(step: RouteStep) -> CandidateReply:
    outcome = "answered" if step.chosen else "failed" if step.error_class else "not asked"
    reply = CandidateReply(provider=step.provider, model=step.model, outcome=outcome, reason=step.reason)
    if step.endpoint:
        reply["endpoint"] = step.endpoint
    if step.error_class:
        reply["error"] = step.error_class
    return reply
