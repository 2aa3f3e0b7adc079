"""Sends one call to the tools service. What its answer, or the lack of one, means is the caller's."""

from __future__ import annotations

from astromesh.v1.tools_pb2 import ExecuteToolRequest, ExecuteToolResponse
from astromesh.v1.values_pb2 import ToolCall, ToolSpec
from astromesh_runtime.scope import RunScope

START_WITHIN_NANO = 5_000_000_000
"""How long after its intent a call may start. Recovery waits this and the tool's timeout before it judges a write."""

DEFAULT_TIMEOUT_MS = 30_000
"""For a tool that declares none."""

ANSWER_SLACK_SECONDS = 2.0
"""On top of the tool's own timeout, for its answer to come back: the tools service is to say that time is up."""


def timeout_of(spec: ToolSpec | None) -> int:
    """How long a call of the tool may take, in milliseconds."""
    return (spec.timeout_ms if spec is not None else 0) or DEFAULT_TIMEOUT_MS


async def execute(scope: RunScope, call: ToolCall, path: str, key: str, start_before: int = 0) -> ExecuteToolResponse:
    """What the tool answered. Raises AstromeshError where no definite answer came: nobody knows whether it was done.

    `start_before` is in Unix nanoseconds: it begins until then or never; 0: whenever it is asked.
    """
    request = ExecuteToolRequest(
        agent=scope.agent.ref,
        call=call,
        run_id=scope.run_id,
        path=path,
        idempotency_key=key,
        start_before_unix_nano=start_before,
    )
    spec = scope.tool(call.name)
    if spec is not None and spec.HasField("origin"):
        request.pinned.CopyFrom(spec)
    if spec is not None and spec.reads_results:
        request.cut_results.extend(scope.cut_results())
    # A call may have to wait for its turn, for as long as it may still begin.
    timeout = START_WITHIN_NANO / 1e9 + timeout_of(spec) / 1000 + ANSWER_SLACK_SECONDS
    return await scope.services.tools.ExecuteTool(request, timeout=timeout)
