"""The public gRPC AgentService: translation only. It does with runs what the HTTP surface does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import orjson
from pydantic import JsonValue

from astromesh.v1.agent_pb2 import (
    AnswerQuestionRequest,
    AnswerQuestionResponse,
    CancelRunRequest,
    CancelRunResponse,
    DecideApprovalRequest,
    DecideApprovalResponse,
    GetRunRequest,
    GetRunResponse,
    GiveFeedbackRequest,
    GiveFeedbackResponse,
    ListApprovalsRequest,
    ListApprovalsResponse,
    ListRunsRequest,
    ListRunsResponse,
    PendingApproval,
    ResolveStepRequest,
    ResolveStepResponse,
    RestartPart,
    RunAgentRequest,
    RunAgentResponse,
    StreamAgentRequest,
    StreamAgentResponse,
    ToolProgressPart,
    WatchRunRequest,
    WatchRunResponse,
)
from astromesh.v1.agent_pb2_grpc import AgentServiceServicer
from astromesh.v1.run_events_pb2 import SURFACE_GRPC, ToolResultChecked
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, Run, Step
from astromesh.v1.signal_pb2 import RESOLVED_OUTCOME_UNSPECIFIED, ToolProgress
from astromesh.v1.values_pb2 import ToolResult
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import InvalidInput
from astromesh_core.events.runs import TERMINAL
from astromesh_core.rpc.identity import Caller, current_caller
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.admission import AskedRun, PreparedRun
from astromesh_gateway.approvals import Answer, Approvals, Decision
from astromesh_gateway.auth import Authenticator, Role, require
from astromesh_gateway.feedback import give_feedback, reviewed
from astromesh_gateway.following import Part, Told, ToldOfChild
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.progress import awaits_check
from astromesh_gateway.replies import failure_error
from astromesh_gateway.stored_runs import StoredRuns
from astromesh_gateway.tokens import Restart, Thought, Token

DEFAULT_PAGE = 50


class KeyGate:
    """Lets callers in by their API key, as HTTP does."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, headers: Mapping[str, str]) -> Caller:
        """The caller named by the headers. Raises Denied."""
        return self._authenticator.caller(headers)


class AgentServicer(AgentServiceServicer):
    """Runs of agents over gRPC."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def RunAgent(self, request: RunAgentRequest, context: ServicerContext) -> RunAgentResponse:
        """Answers when the run has completed or waits. Raises the error of a run that ended otherwise."""
        del context
        run = await self._gateway.following.complete(self._prepared(request))
        if run.status in TERMINAL and run.status != RUN_STATUS_COMPLETED:
            raise _of_run(run)
        return RunAgentResponse(run=run)

    async def StreamAgent(
        self, request: StreamAgentRequest, context: ServicerContext
    ) -> AsyncIterator[StreamAgentResponse]:
        """Parts as they happen; `done` or `error` is last."""
        del context
        prepared = self._prepared(request.run)
        async with self._gateway.following.streamed(prepared) as parts:
            last: Run | None = None
            async for part in parts:
                last = part.run if isinstance(part, Told) else last
                response = _streamed(part, prepared.run_id)
                if response is not None:
                    yield response
            if last is not None and last.status not in TERMINAL:
                yield StreamAgentResponse(run_id=prepared.run_id, index=last.events - 1, done=last)

    async def GetRun(self, request: GetRunRequest, context: ServicerContext) -> GetRunResponse:
        """The run as it stands."""
        del context
        caller = current_caller()
        require(caller, "viewer")
        return GetRunResponse(run=await reviewed(self._gateway, caller, request.run_id))

    async def ListRuns(self, request: ListRunsRequest, context: ServicerContext) -> ListRunsResponse:
        """A page of runs, newest first."""
        del context
        stored = self._stored("viewer")
        runs, token = await stored.list(request.filter, request.page_size or DEFAULT_PAGE, request.page_token)
        return ListRunsResponse(runs=runs, next_page_token=token)

    async def WatchRun(self, request: WatchRunRequest, context: ServicerContext) -> AsyncIterator[WatchRunResponse]:
        """Every event from the index on, as stored, until the run ends."""
        del context
        if request.from_index < 0:
            raise InvalidInput("from_index counts from 0")
        await self._stored("viewer").last_index(request.run_id)
        aggregate = run_aggregate(current_caller().namespace, request.run_id)
        async with aclosing(self._gateway.bus.log.follow(aggregate, request.from_index)) as events:
            async for event in events:
                yield WatchRunResponse(index=event.index, envelope=event.data)

    async def CancelRun(self, request: CancelRunRequest, context: ServicerContext) -> CancelRunResponse:
        """The run once it has ended, or as it stands after five seconds."""
        del context
        return CancelRunResponse(run=await self._stored("user").cancel(request.run_id, request.reason))

    async def GiveFeedback(self, request: GiveFeedbackRequest, context: ServicerContext) -> GiveFeedbackResponse:
        """The run with what is said of it. Raises Conflict where it has not ended."""
        del context
        caller = current_caller()
        require(caller, "user")
        run = await give_feedback(self._gateway, caller, request.run_id, request.rating, request.comment)
        return GiveFeedbackResponse(run=run)

    async def ListApprovals(self, request: ListApprovalsRequest, context: ServicerContext) -> ListApprovalsResponse:
        """What runs ask, of the newest first."""
        del context
        found, token = await self._approvals("viewer").pending(
            request.agent, request.session_id, request.page_size or DEFAULT_PAGE, request.page_token
        )
        pending = [
            PendingApproval(run_id=run.run_id, agent=run.agent, session_id=run.session_id, approval=approval)
            for run, approval in found
        ]
        return ListApprovalsResponse(approvals=pending, next_page_token=token)

    async def DecideApproval(self, request: DecideApprovalRequest, context: ServicerContext) -> DecideApprovalResponse:
        """The run once it is decided. Raises Conflict where it was decided otherwise."""
        del context
        decision = Decision(request.approved, request.comment, request.edited_arguments_json, request.effect_sha256)
        return DecideApprovalResponse(run=await self._approvals("user").decide(request.run_id, request.path, decision))

    async def AnswerQuestion(self, request: AnswerQuestionRequest, context: ServicerContext) -> AnswerQuestionResponse:
        """The run once the question is answered. Raises Conflict where it was answered otherwise."""
        del context
        answer = Answer(request.answer, request.declined)
        return AnswerQuestionResponse(run=await self._approvals("user").answer(request.run_id, request.path, answer))

    async def ResolveStep(self, request: ResolveStepRequest, context: ServicerContext) -> ResolveStepResponse:
        """The run once the step is settled. Raises Conflict where nothing is to be settled there."""
        del context
        if request.outcome == RESOLVED_OUTCOME_UNSPECIFIED:
            raise InvalidInput("outcome says what became of the step: succeeded or failed")
        stored = self._stored("user")
        run = await stored.resolve(request.run_id, request.path, request.outcome, request.result)
        return ResolveStepResponse(run=run)

    def _approvals(self, role: Role) -> Approvals:
        caller = current_caller()
        require(caller, role)
        return Approvals(self._gateway, caller)

    def _stored(self, role: Role) -> StoredRuns:
        caller = current_caller()
        require(caller, role)
        return StoredRuns(self._gateway, caller)

    def _prepared(self, request: RunAgentRequest) -> PreparedRun:
        caller = current_caller()
        require(caller, "user")
        asked = AskedRun(
            caller=caller,
            agent=request.agent,
            query=request.query,
            session_id=request.session_id,
            user=request.user,
            context=_context(request.context_json),
            idempotency_key=request.idempotency_key,
            images=tuple(request.images),
            output_schema_json=request.output_schema_json,
            surface=SURFACE_GRPC,
            traceparent=current_traceparent(),
        )
        return self._gateway.admission.prepare(asked)


def _streamed(part: Part, run_id: str) -> StreamAgentResponse | None:
    if isinstance(part, Token):
        return StreamAgentResponse(run_id=run_id, token=part.text)
    if isinstance(part, Thought):
        return StreamAgentResponse(run_id=run_id, reasoning=part.text)
    if isinstance(part, Restart):
        return StreamAgentResponse(run_id=run_id, restart=RestartPart(reason=part.reason))
    if isinstance(part, ToolProgress):
        come = ToolProgressPart(path=part.path, progress=part.progress, total=part.total)
        return StreamAgentResponse(run_id=run_id, tool_progress=come)
    if isinstance(part, ToldOfChild):
        return _told(part, StreamAgentResponse(run_id=run_id, child_run_id=part.run.run_id))
    return _told(part, StreamAgentResponse(run_id=run_id, index=part.index))


def _told(part: Told | ToldOfChild, response: StreamAgentResponse) -> StreamAgentResponse | None:
    run, event = part.run, part.envelope.run
    if run.status in TERMINAL:
        if run.status == RUN_STATUS_COMPLETED:
            response.done.CopyFrom(run)
        else:
            response.error.CopyFrom(run.failure)
            response.error.error_class = failure_error(run).code
        return response
    if event.HasField("tool_intended"):
        response.tool_call.CopyFrom(event.tool_intended.call)
        return response
    kind = event.WhichOneof("event") or ""
    path = getattr(getattr(event, kind), "path", "")
    step = next((step for step in run.steps if step.path == path), None) if path else None
    if step is None:
        return None
    if event.HasField("tool_succeeded") and not awaits_check(step):
        response.tool_result.CopyFrom(event.tool_succeeded.result)
    elif event.HasField("tool_result_checked") and step.HasField("output"):
        response.tool_result.CopyFrom(_checked(event.tool_result_checked, step))
    else:
        response.step.CopyFrom(step)
    return response


def _checked(event: ToolResultChecked, step: Step) -> ToolResult:
    return ToolResult(tool_call_id=event.tool_call_id, name=step.name, output=event.text, is_error=event.blocked)


def _of_run(run: Run) -> Exception:
    error = failure_error(run)
    error.message = f"run {run.run_id}: {error.message}"
    return error


def _context(text: str) -> dict[str, JsonValue]:
    if not text:
        return {}
    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"context_json is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("context_json must be a JSON object")
    return value
