"""One call of an agent over MCP: a run, told by its steps, cancelled when the client calls it off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from mcp_types import CallToolResult

from astromesh.v1.run_events_pb2 import SURFACE_MCP
from astromesh.v1.runs_pb2 import Run, RunFilter
from astromesh_core.errors import AstromeshError, InvalidInput
from astromesh_core.events.identity import run_id
from astromesh_core.events.runs import TERMINAL
from astromesh_core.rpc.identity import enter_caller
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.traceparent import enter_trace
from astromesh_gateway.admission import AskedRun, PreparedRun
from astromesh_gateway.auth import require
from astromesh_gateway.bodies import parse_body
from astromesh_gateway.following import Told
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.mcp.asker import Asker, RequestId
from astromesh_gateway.mcp.catalogue import CallArguments, agent_spec, check_offered, has_object_schema
from astromesh_gateway.mcp.results import answered, refused
from astromesh_gateway.mcp.steps import said
from astromesh_gateway.stored_runs import StoredRuns

Report = Callable[[float, str], Awaitable[None]]
"""Tells progress: a number that grows, and what was done."""

_CALLED_OFF = "cancelled by the client"
_LOOKED_THROUGH = 200
"""Runs of the namespace, the newest, that may be the one which another gateway called off."""

_log = logger(__name__)


@dataclass(slots=True)
class _Open:
    prepared: PreparedRun
    called_off: bool = False


class AgentCalls:
    """The calls of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._open: dict[tuple[str, str, str], _Open] = {}
        self._calling_off: set[asyncio.Task[None]] = set()

    async def call(
        self,
        asker: Asker,
        request_id: RequestId | None,
        agent: str,
        arguments: Mapping[str, object],
        report: Report | None,
    ) -> CallToolResult:
        """Runs the agent; its answer, or the error as one. Raises MCPError for what is no tool.

        Cancelled, it leaves the run to the policy of its protocol: called off, or as `cancel_on_disconnect` says.
        """
        enter_caller(asker.caller)
        enter_trace(asker.traceparent)
        namespace = asker.caller.namespace
        check_offered(self._gateway.directory, namespace, agent)
        spec = agent_spec(self._gateway.directory.record("Agent", namespace, agent).spec_json)
        try:
            require(asker.caller, "user")
            body = parse_body(_written(arguments), CallArguments)
            with self._gateway.telemetry.span(f"run {agent}", kind="server", parent=asker.traceparent):
                prepared = self._gateway.admission.prepare(_asked(asker, agent, body, asker.key_of(request_id)))
                run = await self._run(asker, request_id, prepared, report)
        except AstromeshError as error:
            return refused(error)
        return answered(run, needs_structure=has_object_schema(spec))

    def call_off(self, asker: Asker, request_id: RequestId) -> None:
        """The client calls off a call of its session, here or at another gateway. What has ended stays as it is."""
        open_ = self._open.get(_place(asker, request_id))
        if open_ is not None:
            open_.called_off = True
            self._gateway.departures.cancel(open_.prepared, _CALLED_OFF)
        elif key := asker.key_of(request_id):
            task = asyncio.create_task(self._call_off_elsewhere(asker, key), name="call off elsewhere")
            self._calling_off.add(task)
            task.add_done_callback(self._calling_off.discard)

    async def settle(self) -> None:
        """Returns when every call off was passed on, or given up."""
        await asyncio.gather(*self._calling_off)

    async def _run(
        self, asker: Asker, request_id: RequestId | None, prepared: PreparedRun, report: Report | None
    ) -> Run:
        place, open_ = _place(asker, request_id), _Open(prepared)
        if asker.session:
            self._open[place] = open_
        try:
            if report is None:
                return await self._gateway.following.complete(prepared)
            return await self._told(prepared, report)
        except asyncio.CancelledError:
            if not open_.called_off:
                self._leave(asker, prepared)
            raise
        finally:
            self._open.pop(place, None)

    async def _told(self, prepared: PreparedRun, report: Report) -> Run:
        run = Run(run_id=prepared.run_id)
        async with self._gateway.following.streamed(prepared) as parts:
            async for part in parts:
                if isinstance(part, Told):
                    run = part.run
                    if text := said(part):
                        await report(part.index + 1, text)
        return run

    def _leave(self, asker: Asker, prepared: PreparedRun) -> None:
        if asker.closing_cancels:
            self._gateway.departures.cancel(prepared, _CALLED_OFF)
        else:
            self._gateway.departures.left(prepared, "")

    async def _call_off_elsewhere(self, asker: Asker, key: str) -> None:
        """Finds the run by its idempotency key, which every gateway knows."""
        enter_caller(asker.caller)
        enter_trace(asker.traceparent)
        stored, principal = StoredRuns(self._gateway, asker.caller), asker.caller.principal
        try:
            runs, _ = await stored.list(RunFilter(), _LOOKED_THROUGH, "")
            for run in runs:
                is_it = run.run_id == run_id(self._gateway.mesh_key, run.session_key, principal, key)
                if is_it and run.status not in TERMINAL:
                    await stored.cancel(run.run_id, _CALLED_OFF)
        except AstromeshError as error:
            _log.warning("a run goes on that its client called off", reason=error.message)


def _written(arguments: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(arguments)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"the arguments cannot be taken: {error}") from error


def _asked(asker: Asker, agent: str, body: CallArguments, key: str) -> AskedRun:
    return AskedRun(
        caller=asker.caller,
        agent=agent,
        query=body.query,
        session_id=body.session_id,
        user=body.user,
        context=body.context,
        idempotency_key=key,
        surface=SURFACE_MCP,
        cancel_on_disconnect=asker.cancel_on_disconnect,
        traceparent=asker.traceparent,
    )


def _place(asker: Asker, request_id: RequestId | None) -> tuple[str, str, str]:
    return asker.caller.namespace, asker.caller.principal, f"{asker.session}/{request_id!r}"
