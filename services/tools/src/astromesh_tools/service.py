"""The rpc of tools: finds the agent's tool, calls it, translates the outcome. An rpc error leaves the outcome open."""

from __future__ import annotations

from functools import partial
from time import perf_counter_ns
from typing import Protocol

from astromesh.v1.signal_pb2 import ToolProgress
from astromesh.v1.tools_pb2 import (
    DescribeToolsRequest,
    DescribeToolsResponse,
    ExecuteToolRequest,
    ExecuteToolResponse,
)
from astromesh.v1.tools_pb2_grpc import ToolsServiceServicer
from astromesh.v1.values_pb2 import Content, Failure, Timing, ToolResult
from astromesh_core.errors import Denied, NotFound
from astromesh_core.events.contents import plain
from astromesh_core.rpc.identity import current_caller
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.catalogue import Toolbox
from astromesh_tools.tool import Clock, Invocation, Tool
from astromesh_tools.toolbox import Toolboxes


class Values(Protocol):
    """Fetches contents that were moved to the object store."""

    async def resolve(self, content: Content) -> Content:
        """Returns the content itself."""
        ...


class Progress(Protocol):
    """Tells whoever follows a run how far its tools have come."""

    def publish(self, namespace: str, progress: ToolProgress) -> None:
        """Sends it, without waiting and without a promise."""
        ...


class ToolsService(ToolsServiceServicer):
    """Knows and executes the tools of every agent."""

    def __init__(
        self,
        toolboxes: Toolboxes,
        values: Values,
        clock: Clock,
        telemetry: Telemetry,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress
        self._toolboxes = toolboxes
        self._values = values
        self._clock = clock
        self._telemetry = telemetry

    async def DescribeTools(self, request: DescribeToolsRequest, context: ServicerContext) -> DescribeToolsResponse:
        """Returns the agent's catalogue. Raises InvalidInput or NotSupported for a tool that cannot be offered."""
        toolbox = await self._toolboxes.of(request.agent)
        found = await toolbox.catalogue()
        return DescribeToolsResponse(tools=[tool.spec for tool in found.tools.values()], sources=found.sources)

    async def ExecuteTool(self, request: ExecuteToolRequest, context: ServicerContext) -> ExecuteToolResponse:
        """Executes one call, or says definitely that it was not done. Raises where that is not known."""
        toolbox = await self._toolboxes.of(request.agent)
        arguments = plain(await self._values.resolve(request.call.arguments))
        start, begun = self._clock(), perf_counter_ns()
        tool = await toolbox.find(request.call.name, request.pinned if request.HasField("pinned") else None)
        denied = await self._denied(tool, request, arguments)
        outcome = denied or await self._execute(toolbox, tool, request, arguments)
        timing = Timing(start_unix_nano=start, duration_nano=perf_counter_ns() - begun)
        if isinstance(outcome, Failure):
            return ExecuteToolResponse(failure=outcome, timing=timing)
        return ExecuteToolResponse(result=outcome, timing=timing)

    async def _denied(self, tool: Tool | None, request: ExecuteToolRequest, arguments: str) -> Failure | None:
        """Why a call by hand is not permitted. One of a run was judged before its intent."""
        if request.run_id:
            return None
        by_hand = await self._toolboxes.by_hand(request.agent)
        spec = tool.spec if tool is not None else None
        refusal = by_hand.refusal(request.call.name, spec, arguments, current_caller().role)
        return failure_of(Denied(refusal)) if refusal else None

    async def _execute(
        self, toolbox: Toolbox, tool: Tool | None, request: ExecuteToolRequest, arguments: str
    ) -> ToolResult | Failure:
        if tool is None:
            names = ", ".join(toolbox.names) or "none"
            return failure_of(NotFound(f"there is no tool {request.call.name!r}; the tools of this agent are: {names}"))
        invocation = Invocation(
            call_id=request.call.id,
            arguments=arguments,
            idempotency_key=request.idempotency_key,
            start_before=request.start_before_unix_nano,
            path=request.path if request.run_id else "",
            reader=toolbox.reader,
            cut_results={cut.path: cut.whole for cut in request.cut_results},
            tell=partial(self._tell, request) if request.run_id else None,
        )
        attributes = {
            gen_ai.OPERATION: gen_ai.EXECUTE_TOOL,
            gen_ai.TOOL_NAME: tool.spec.name,
            gen_ai.TOOL_TYPE: tool.spec.type,
            gen_ai.TOOL_CALL_ID: request.call.id,
        }
        with self._telemetry.span(f"{gen_ai.EXECUTE_TOOL} {tool.spec.name}", attributes=attributes) as span:
            outcome = await tool.call(invocation)
            if isinstance(outcome, Failure):
                span.fail(outcome.error_class)
            return outcome

    def _tell(self, request: ExecuteToolRequest, progress: float, total: float) -> None:
        if self._progress is not None:
            come = ToolProgress(run_id=request.run_id, path=request.path, progress=progress, total=total)
            self._progress.publish(request.agent.namespace, come)
