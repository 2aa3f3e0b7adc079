"""A worker process that kills itself at a chosen event: `crashing_worker.py URL CREDENTIALS SOCKET POINT INDEX`.

POINT is `recording` (before the event is recorded), `sending` (before its commit is sent) or `stored` (right after its
commit is acknowledged). An INDEX below 0 never crashes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from astromesh_core.bus.connection import open_bus
from astromesh_core.bus.credentials import load_credentials
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.permissions import MESH
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.events.chain import open_commit
from astromesh_core.events.identity import MeshKey
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.service import Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_runtime.app import open_service

CALLED = ("router", "tools", "memory", "guardrails", "rag")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, index: int) -> None:
    record, append = AggregateWriter.record, EventLog.append

    def recording(self: AggregateWriter, *arguments: Any, **more: Any) -> int:
        if point == "recording" and self.next_index == index:
            die()
        return record(self, *arguments, **more)

    async def appending(
        self: EventLog, subject: str, aggregate: Aggregate, commit: bytes, expected: Position
    ) -> Position:
        holds_it = any(event.index == index for event in open_commit(commit))
        if point == "sending" and holds_it:
            die()
        position = await append(self, subject, aggregate, commit, expected)
        if point == "stored" and holds_it:
            die()
        return position

    AggregateWriter.record = recording
    EventLog.append = appending


async def serve(url: str, credentials: Path, socket: str) -> None:
    telemetry = Telemetry()
    local = InProcessServer(telemetry)
    connections = Connections(local, (), dict.fromkeys(CALLED, socket), "a-token-for-tests")
    async with open_bus(url, service=MESH, credentials=load_credentials(credentials), name="crashing") as bus:
        settings = Settings(data_dir=credentials.parent)
        key = MeshKey(b"a key for tests, 32 bytes long..")
        async with open_service(Platform(settings, bus, connections, telemetry, Readiness(), key, "worker")):
            await asyncio.Event().wait()


if __name__ == "__main__":
    die_at(sys.argv[4], int(sys.argv[5]))
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
