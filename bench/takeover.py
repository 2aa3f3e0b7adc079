"""A worker of two is killed in the middle of its runs: until when another has taken each of them over."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from figures import Figure
from processes import cores, running, stub_model

from astromesh_cli.serving.placement import openers
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import credentials_path
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.bus.permissions import MESH
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.launcher import compose
from astromesh_core.settings import Settings
from astromesh_core.telemetry.logs import configure_logs
from astromesh_testing.admission import admit, put_agent

SCENARIO = "Take-over of a killed worker's runs"
TRIALS = 5
RUNS = 24
_SHARED_SECONDS = 8.0
"""Until two workers have shared the partitions between them."""
_UNDER_WAY_SECONDS = 1.0
_LONGEST_SECONDS = 30.0
_CALLED = ("guardrails", "router", "tools", "memory")
_TOOL = '''"""The tool of the benchmark."""

import asyncio


async def wait(a: int = 1) -> int:
    """Takes its time."""
    await asyncio.sleep(3)
    return a
'''


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker process finds the mesh."""

    url: str
    credentials: Path
    data: Path
    served_at: str


def measure(share: float) -> Iterator[Figure]:
    """Trials with a worker killed in each."""
    seconds = uvloop.run(_measured(max(2, int(TRIALS * share))))
    p50, p95 = seconds[len(seconds) // 2], seconds[min(len(seconds) - 1, int(len(seconds) * 0.95))]
    told = f"p50 {p50:.2f} s, p95 {p95:.2f} s, worst {seconds[-1]:.2f} s of {len(seconds)} runs"
    yield Figure(SCENARIO, "from the kill to `claimed`", "ours", told, "p95 ≤ 5 s")


async def _measured(trials: int) -> list[float]:
    configure_logs("error", "json", record_content=False)
    seconds = list[float]()
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made, stub_model(Path(made)) as endpoint:
        async with _services(Path(made)) as (bus, place):
            await put_agent(
                bus,
                model={"primary": {"provider": "openai_compat", "model": "stub-1", "endpoint": endpoint}},
                tools=[{"name": "wait", "type": "internal", "function": "waiting:wait", "effect": "read"}],
            )
            for trial in range(trials):
                seconds += await _trial(bus, place, trial)
    return sorted(seconds)


async def _trial(bus: Bus, place: Place, trial: int) -> list[float]:
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(place, f"{trial}-{number}")) for number in (1, 2)]
        await asyncio.sleep(_SHARED_SECONDS)
        runs = [await admit(bus) for _ in range(RUNS)]
        await asyncio.sleep(_UNDER_WAY_SECONDS)
        killed = time.time()
        workers[0].kill()
        claims = await asyncio.gather(*(_claimed(bus, run) for run in runs))
    # The other worker's own runs are not claimed: they end by themselves.
    return [claim - killed for claim in claims if claim is not None]


async def _claimed(bus: Bus, run: Aggregate) -> float | None:
    async with asyncio.timeout(_LONGEST_SECONDS), aclosing(bus.log.follow(run)) as events:
        async for event in events:
            if event.envelope.run.HasField("claimed"):
                return event.envelope.time_unix_nano / 1e9
    return None


def _worker(place: Place, name: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    environment = {
        "ASTROMESH_NATS_URL": place.url,
        "ASTROMESH_NATS_CREDENTIALS": str(place.credentials),
        "ASTROMESH_DATA_DIR": str(place.data),
        "ASTROMESH_PEERS": json.dumps(dict.fromkeys((*_CALLED, "rag"), place.served_at)),
        "ASTROMESH_RPC_ADDRESS": f"unix:{place.data}/worker-{name}.sock",
    }
    command = [sys.executable, "-m", "astromesh_runtime"]
    return running(command, cores()[0], output=place.data / f"worker-{name}.log", environment=environment)


@asynccontextmanager
async def _services(folder: Path) -> AsyncGenerator[tuple[Bus, Place]]:
    """Everything but the workers, served at a socket."""
    (folder / "config" / "tools").mkdir(parents=True)
    (folder / "config" / "tools" / "waiting.py").write_text(_TOOL)
    data = folder / "data"
    async with EmbeddedServer(data) as server:
        served_at = f"unix:{folder}/services.sock"
        settings = Settings(
            config_dir=folder / "config",
            data_dir=data,
            nats_url=server.url,
            nats_credentials=credentials_path(server.credentials_folder, MESH),
        )
        async with compose(openers(_CALLED), settings, served_at) as mesh:
            credentials = credentials_path(server.credentials_folder, "runtime")
            yield mesh.platform.bus, Place(server.url, credentials, data, served_at)
