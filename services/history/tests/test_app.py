"""The service as it is launched: with history's own credentials on a real bus."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from astromesh.v1.history_pb2 import HistoryServiceListRunsRequest
from astromesh.v1.history_pb2_grpc import HistoryServiceStub
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.bus.positions import Position
from astromesh_core.launcher import compose
from astromesh_core.settings import load_settings
from astromesh_history.app import open_service
from astromesh_testing.commits import commit_of, new_run, requested
from astromesh_testing.nats import NatsServer

if TYPE_CHECKING:
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub


async def count(stub: HistoryServiceAsyncStub) -> int:
    return len((await stub.ListRuns(HistoryServiceListRunsRequest(namespace="default"))).runs)


async def test_lists_what_the_log_holds_and_goes_on_after_a_crash_of_the_server(
    nats: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    given: dict[str, object] = {
        "data_dir": tmp_path / "data",
        "nats_url": nats.url,
        "nats_credentials": credentials_path(nats.credentials_folder, "history"),
    }
    async with compose({"history": open_service}, load_settings(given)) as mesh:
        stub = HistoryServiceStub(mesh.platform.connections.channel("history"))
        for number in (1, 2):
            run = new_run()
            commit, _ = commit_of(run, [requested()])
            await bus.log.append(run.requested, run, commit, Position.START)
            async with asyncio.timeout(10):
                while await count(stub) < number:  # noqa: ASYNC110 -- a projection tells nobody what it has applied
                    await asyncio.sleep(0.02)
            if number == 1:
                await nats.kill()
                await nats.restart()
        assert (await mesh.platform.readiness.report()).ok
    assert (tmp_path / "data" / "history" / "history.sqlite").exists()
