"""What a worker tells of its load, and how often."""

from __future__ import annotations

import asyncio
import time

from astromesh.v1.partition_pb2 import WorkerLoad
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import ALL_LOADS
from astromesh_core.service import Platform
from astromesh_testing.admission import admit, ended, put_agent


async def test_a_worker_without_runs_tells_so_seldom_and_of_every_change_at_once(bus: Bus, worker: Platform) -> None:
    told = list[tuple[float, int]]()

    def hear(load: WorkerLoad) -> None:
        told.append((time.monotonic(), sum(entry.open_runs for entry in load.namespaces)))

    await asyncio.sleep(1)
    listening = await bus.nc.listen(ALL_LOADS, lambda message: hear(WorkerLoad.FromString(message.data)))
    await asyncio.sleep(3)
    assert 2 <= len(told) <= 4
    await put_agent(bus)
    await ended(bus, await admit(bus))
    over = time.monotonic()
    told.clear()
    await asyncio.sleep(0.6)
    assert told, "that a run has ended is told though there is none again"
    assert told[0][0] - over < 0.5
    assert told[-1][1] == 0
    listening.close()
