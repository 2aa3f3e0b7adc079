"""What every process tells the others of its mesh beside its services' methods: its own metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from astromesh.v1.metrics_pb2 import GetMetricsRequest, GetMetricsResponse
from astromesh.v1.metrics_pb2_grpc import MetricsServiceServicer, add_MetricsServiceServicer_to_server
from astromesh_core.rpc.ports import Registrar, RpcServer, ServicerContext
from astromesh_core.telemetry.metrics import Metrics


class MetricsServicer(MetricsServiceServicer):
    """Reads the metrics of this process, labelled with the services that run in it."""

    def __init__(self, metrics: Metrics, instance: str, services: Iterable[str]) -> None:
        self._metrics = metrics
        self._instance = instance
        self._label = service_label(services)

    async def GetMetrics(  # noqa: N802 - the contract's name
        self, request: GetMetricsRequest, context: ServicerContext
    ) -> GetMetricsResponse:
        """Returns the page as it is now."""
        # In a thread: hundreds of agents make a page of tens of milliseconds.
        page, _ = await asyncio.to_thread(self._metrics.exposition, self._label)
        return GetMetricsResponse(instance=self._instance, page=page.decode())


def tells_metrics(metrics: Metrics, instance: str, services: Iterable[str]) -> Registrar:
    """What adds the servicer of a process of this name, in which these services run."""
    servicer = MetricsServicer(metrics, instance, services)

    def register(server: RpcServer) -> None:
        add_MetricsServiceServicer_to_server(servicer, server)

    return register


def service_label(services: Iterable[str]) -> str:
    """Whose process a sample is from: the service's name, of several `router+tools`."""
    return "+".join(sorted(services))
