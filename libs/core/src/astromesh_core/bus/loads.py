"""What workers tell of their load, for admission: core NATS, often, never stored."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from nats.aio.msg import Msg

from astromesh.v1.partition_pb2 import NamespaceLoad, WorkerLoad
from astromesh_core.bus.client import BusClient, Listening
from astromesh_core.bus.subjects import ALL_LOADS, load_subject

STALE_SECONDS = 3.0
"""A worker that told nothing for this long is not counted any more."""


class Loads:
    """Tells and hears the load of workers."""

    def __init__(self, client: BusClient) -> None:
        self._client = client

    def tell(self, worker: str, open_runs: Mapping[str, int]) -> None:
        """Tells how many open runs the worker holds, by namespace."""
        namespaces = [NamespaceLoad(namespace=name, open_runs=count) for name, count in open_runs.items()]
        load = WorkerLoad(worker=worker, time_unix_nano=time.time_ns(), namespaces=namespaces)
        self._client.send(load_subject(worker), load.SerializeToString())

    async def hear(self, now: Callable[[], float] = time.monotonic) -> HeardLoads:
        """Begins to listen. The caller closes it."""
        heard = HeardLoads(now)
        heard.listening = await self._client.listen(ALL_LOADS, heard.take)
        return heard


class HeardLoads:
    """The newest load of every worker that is still telling."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._loads: dict[str, tuple[float, Counter[str]]] = {}
        self.listening: Listening | None = None

    def take(self, message: Msg) -> None:
        """Takes a worker's message."""
        load = WorkerLoad.FromString(message.data)
        counts = Counter({entry.namespace: entry.open_runs for entry in load.namespaces})
        self._loads[load.worker] = (self._now(), counts)

    def open_runs(self, namespace: str) -> int:
        """How many runs of the namespace are open on all workers, a moment ago."""
        oldest = self._now() - STALE_SECONDS
        self._loads = {worker: entry for worker, entry in self._loads.items() if entry[0] >= oldest}
        return sum(counts[namespace] for _, counts in self._loads.values())

    def heard_at(self) -> float:
        """When the worker that is silent for longest, of those still telling, told last; 0 without any."""
        return min((when for when, _ in self._loads.values()), default=0.0)

    def workers(self) -> set[str]:
        """Who is still telling."""
        oldest = self._now() - STALE_SECONDS
        return {worker for worker, entry in self._loads.items() if entry[0] >= oldest}

    def close(self) -> None:
        """Hears nothing more."""
        if self.listening is not None:
            self.listening.close()
