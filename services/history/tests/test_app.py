"""The service as it is launched: with history's own credentials on a real bus."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astromesh.v1.history_pb2 import HistoryServiceListRunsRequest
from astromesh.v1.history_pb2_grpc import HistoryServiceStub
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.bus.positions import Position
from astromesh_core.bus.projection import Projection
from astromesh_core.launcher import compose
from astromesh_core.settings import Settings, load_settings
from astromesh_history.app import open_service
from astromesh_history.writing import Batch, write
from astromesh_testing.commits import commit_of, new_run, requested
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until

if TYPE_CHECKING:
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub


async def count(stub: HistoryServiceAsyncStub) -> int:
    return len((await stub.ListRuns(HistoryServiceListRunsRequest(namespace="default"))).runs)


def settings_of(nats: NatsServer, folder: Path) -> Settings:
    given: dict[str, object] = {
        "data_dir": folder / "data",
        "nats_url": nats.url,
        "nats_credentials": credentials_path(nats.credentials_folder, "history"),
    }
    return load_settings(given)


async def append_run(bus: Bus) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    await bus.log.append(run.requested, run, commit, Position.START)


async def test_lists_what_the_log_holds_and_goes_on_after_a_crash_of_the_server(
    nats: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    async with compose({"history": open_service}, settings_of(nats, tmp_path)) as mesh:
        stub = HistoryServiceStub(mesh.platform.connections.channel("history"))
        for number in (1, 2):
            await append_run(bus)
            async with asyncio.timeout(10):
                while await count(stub) < number:  # noqa: ASYNC110 - a projection tells nobody what it has applied
                    await asyncio.sleep(0.02)
            if number == 1:
                await nats.kill()
                await nats.restart()
        assert (await mesh.platform.readiness.report()).ok
    assert (tmp_path / "data" / "history" / "history.sqlite").exists()


async def test_what_is_taken_from_the_log_and_not_written_counts_as_lag_and_turns_readiness_red(
    nats: NatsServer, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()

    def slowly(connection: sqlite3.Connection, batch: Batch) -> None:
        disk.wait(20)
        write(connection, batch)

    monkeypatch.setattr("astromesh_history.projector.write", slowly)
    monkeypatch.setattr(Projection, "max_lag_seconds", 1.0)
    async with compose({"history": open_service}, settings_of(nats, tmp_path)) as mesh:
        metrics, readiness = mesh.platform.telemetry.metrics, mesh.platform.readiness

        def lag() -> float | None:
            return metrics.registry.get_sample_value("astromesh_projection_lag_seconds", {"projection": "history"})

        async def complaint() -> str:
            return "".join(it.reason for it in (await readiness.report()).checks.values() if not it.ok)

        async def caught_up() -> bool:
            return lag() == 0 and (await readiness.report()).ok

        await until(caught_up)
        await append_run(bus)
        try:
            assert "behind the log" in await until(complaint)
            assert (lag() or 0) > 1
        finally:
            disk.set()
        await until(caught_up)
