"""Calling a tool by hand that is an agent: a run of it, on behalf of the caller."""

from __future__ import annotations

import time

from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED
from astromesh.v1.tools_pb2 import ExecuteToolResponse
from astromesh.v1.values_pb2 import Timing, ToolCall, ToolResult, ToolSpec
from astromesh_core.agent_calls import question_of
from astromesh_core.errors import AstromeshError, Conflict
from astromesh_core.events.contents import plain
from astromesh_core.events.runs import TERMINAL
from astromesh_core.rpc.identity import Caller
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.admission import AskedRun
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.replies import failure_error


async def call_agent(
    gateway: Gateway, caller: Caller, spec: ToolSpec, call: ToolCall, idempotency_key: str
) -> ExecuteToolResponse:
    """Runs the agent and answers with what it answered. The same key is the same run.

    Raises InvalidInput for arguments that are no question, Conflict where the run waits for somebody, and what the run
    failed with.
    """
    start, begun = time.time_ns(), time.perf_counter_ns()
    asked = AskedRun(
        caller=caller,
        agent=spec.agent,
        query=question_of(plain(call.arguments)),
        idempotency_key=idempotency_key,
        traceparent=current_traceparent(),
    )
    run = await gateway.following.complete(gateway.admission.prepare(asked))
    if run.status not in TERMINAL:
        raise Conflict(f"run {run.run_id} of agent {spec.agent} waits for {run.waiting_for or 'its turn'}")
    if run.status != RUN_STATUS_COMPLETED:
        raise _of_run(run.run_id, failure_error(run))
    result = ToolResult(tool_call_id=call.id, name=call.name, output=run.answer, passages=run.sources)
    timing = Timing(start_unix_nano=start, duration_nano=time.perf_counter_ns() - begun)
    return ExecuteToolResponse(result=result, timing=timing)


def _of_run(run_id: str, error: AstromeshError) -> AstromeshError:
    error.message = f"run {run_id}: {error.message}"
    return error
