"""RuntimeService: translation only. Replay itself stands in `replay`."""

from __future__ import annotations

import time

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.runtime_pb2 import (
    Difference,
    ReadPromptRequest,
    ReadPromptResponse,
    ReplayRunRequest,
    ReplayRunResponse,
)
from astromesh.v1.runtime_pb2_grpc import RuntimeServiceServicer
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import Conflict, InvalidInput, NotFound
from astromesh_core.rpc.ports import ServicerContext
from astromesh_runtime.looking_back import last_model_call
from astromesh_runtime.recorded import Diverged
from astromesh_runtime.replay import replay


class RuntimeServicer(RuntimeServiceServicer):
    """Serves what only the holder of the patterns can do with a stored run."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ReplayRun(self, request: ReplayRunRequest, context: ServicerContext) -> ReplayRunResponse:
        """Reads the run's log and re-executes it: no service is called, and no provider."""
        del context
        return _replayed(await self._events(request.namespace, request.run_id))

    async def ReadPrompt(self, request: ReadPromptRequest, context: ServicerContext) -> ReadPromptResponse:
        """What the last model call begun by an event was sent. Raises NotFound, InvalidInput, NotSupported."""
        del context
        envelopes = await self._events(request.namespace, request.run_id)
        if not 0 <= request.index < len(envelopes):
            raise InvalidInput(f"run {request.run_id} has the events 0 to {len(envelopes) - 1}")
        try:
            call = last_model_call(envelopes[: request.index + 1])
        except Diverged as difference:
            raise Conflict(
                f"the run's pattern asks for something else than its log holds: {difference}"
            ) from difference
        if call is None:
            return ReadPromptResponse()
        return ReadPromptResponse(
            path=call.path,
            role=call.role,
            messages=call.transcript.messages,
            offers_tools=call.offers_tools,
            output_schema_json=call.output_schema_json,
        )

    async def _events(self, namespace: str, run_id: str) -> list[Envelope]:
        stored = await self._bus.log.read(run_aggregate(namespace, run_id))
        if not stored.events:
            raise NotFound(f"there is no run {run_id} in namespace {namespace!r}")
        envelopes = [event.envelope for event in stored.events]
        for envelope in envelopes:
            await self._bus.values.resolve_all(envelope)
        return envelopes


def _replayed(envelopes: list[Envelope]) -> ReplayRunResponse:
    start = time.perf_counter_ns()
    verdict = replay(envelopes)
    response = ReplayRunResponse(
        identical=verdict.identical, events=verdict.events, duration_nano=time.perf_counter_ns() - start
    )
    if verdict.difference is not None:
        difference = verdict.difference
        response.difference.CopyFrom(
            Difference(
                index=difference.index,
                path=difference.path,
                recorded=difference.recorded,
                replayed=difference.replayed,
            )
        )
    return response
