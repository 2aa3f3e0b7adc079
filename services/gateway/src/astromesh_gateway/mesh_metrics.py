"""The metrics of the mesh on this machine, gathered from its processes at each scrape. What is measured is each
process's own matter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from astromesh.v1.metrics_pb2 import GetMetricsRequest, GetMetricsResponse
from astromesh.v1.metrics_pb2_grpc import MetricsServiceStub
from astromesh_core.errors import AstromeshError
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.process_metrics import service_label
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.metrics import Metrics, processes_page
from astromesh_core.telemetry.pages import joined

if TYPE_CHECKING:
    # Known to type checkers alone: at run time there is one kind of stub.
    from astromesh.v1.metrics_pb2_grpc import MetricsServiceAsyncStub

ASK_SECONDS: Final = 2.0
"""How long a process may take to tell its metrics; a slower one is left out. A scraper waits for 10 s."""

_ITSELF: Final = "gateway"

_log = logger(__name__)


class MeshMetrics:
    """One page of all processes on this machine. Those of other machines, of which there may be many of a kind behind
    one address, are scraped themselves."""

    def __init__(self, own: Metrics, connections: Connections, switched_off: Callable[[], Collection[str]]) -> None:
        self._own = own
        self._here = connections.here
        self._switched_off = switched_off
        self._stubs: dict[str, MetricsServiceAsyncStub] = {
            name: MetricsServiceStub(connections.channel(name)) for name in connections.neighbours if name != _ITSELF
        }
        self._missing: set[str] = set()

    async def exposition(self) -> tuple[bytes, str]:
        """The page that Prometheus scrapes, and its content type, after at most `ASK_SECONDS`.

        Where no service runs in another process, it is this process's page. Else each sample has the label `service`,
        and `astromesh_process_up` tells who answered.
        """
        told = await self._told()
        if not told:
            return self._own.exposition()
        # In a thread: hundreds of agents make a page of tens of milliseconds.
        return await asyncio.to_thread(self._joint, told)

    def _joint(self, told: Mapping[str, GetMetricsResponse | None]) -> tuple[bytes, str]:
        own, content_type = self._own.exposition(service_label(self._here))
        up = {name: reply is not None for name, reply in told.items()} | dict.fromkeys(self._here, True)
        # By process, as several services may run in one.
        pages = {reply.instance: reply.page for reply in told.values() if reply is not None}
        return joined((own.decode(), *pages.values(), processes_page(up))).encode(), content_type

    async def _told(self) -> dict[str, GetMetricsResponse | None]:
        """By service, None for one that is missed: nobody misses what is switched off."""
        replies = await asyncio.gather(*(self._ask(name) for name in self._stubs))
        off = self._switched_off()
        return {
            name: reply
            for name, reply in zip(self._stubs, replies, strict=True)
            if reply is not None or name not in off
        }

    async def _ask(self, name: str) -> GetMetricsResponse | None:
        try:
            reply = await self._stubs[name].GetMetrics(GetMetricsRequest(), timeout=ASK_SECONDS)
        except AstromeshError as error:
            if name not in self._missing:
                _log.info("a process does not tell its metrics", service=name, reason=error.message)
            self._missing.add(name)
            return None
        self._missing.discard(name)
        return reply
