"""RuntimeService: translation only. Replay itself stands in `replay`."""

from __future__ import annotations

import time

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.runtime_pb2 import Difference, ReplayRunRequest, ReplayRunResponse
from astromesh.v1.runtime_pb2_grpc import RuntimeServiceServicer
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import NotFound
from astromesh_core.rpc.ports import ServicerContext
from astromesh_runtime.replay import replay


class RuntimeServicer(RuntimeServiceServicer):
    """Serves what only the holder of the patterns can do with a stored run."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ReplayRun(self, request: ReplayRunRequest, context: ServicerContext) -> ReplayRunResponse:
        """Reads the run's log and re-executes it: no service is called, and no provider."""
        del context
        stored = await self._bus.log.read(run_aggregate(request.namespace, request.run_id))
        if not stored.events:
            raise NotFound(f"there is no run {request.run_id} in namespace {request.namespace!r}")
        envelopes = [event.envelope for event in stored.events]
        for envelope in envelopes:
            await self._bus.values.resolve_all(envelope)
        return _replayed(envelopes)


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
