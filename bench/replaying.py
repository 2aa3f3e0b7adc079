"""Loading a run of a thousand events from the log, re-executing it, and forking it at its end."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from figures import Figure
from mesh import write_config

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import Fork
from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED
from astromesh_cli.serving.placement import openers
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.launcher import compose
from astromesh_core.settings import Settings
from astromesh_core.telemetry.logs import configure_logs
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, ended, put_agent
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Reply

SCENARIO = "A stored run of a thousand events"
TURNS = 249
"""Of a model call and a tool call, four events each."""
TRIALS = 20
_SERVICES = ("guardrails", "router", "tools", "memory", "runtime")


def measure(share: float) -> Iterator[Figure]:
    """Of one run that a scripted model makes long."""
    yield from uvloop.run(_measured(max(3, int(TRIALS * share))))


async def _measured(trials: int) -> list[Figure]:
    async with _mesh() as bus:
        run = await _long_run(bus)
        loads, replays, envelopes = list[float](), list[float](), list[Envelope]()
        for _ in range(trials):
            begun = time.perf_counter()
            stored = await bus.log.read(run)
            loads.append(time.perf_counter() - begun)
            envelopes = [event.envelope for event in stored.events]
            begun = time.perf_counter()
            verdict = replay(envelopes)
            replays.append(time.perf_counter() - begun)
            assert verdict.identical
        forks = [await _forked(bus, run, envelopes) for _ in range(trials)]
    events, load, again = len(envelopes), sorted(loads)[trials // 2], sorted(replays)[trials // 2]
    return [
        Figure(SCENARIO, f"loading {events:,} events", "ours", f"{load * 1e3:.1f} ms", "≤ 100 ms"),
        Figure(SCENARIO, "replaying", "ours", f"{events / again:,.0f} events/s", "≥ 20,000/s, goal 50,000/s"),
        Figure(SCENARIO, "forking, all shared", "ours", f"{sorted(forks)[trials // 2] * 1e3:.0f} ms", "≤ 200 ms"),
    ]


async def _forked(bus: Bus, run: Aggregate, envelopes: list[Envelope]) -> float:
    """Seconds from a fork's request until it has ended, all of whose past it shares: its log is written whole."""
    agent = next(it.run.started.agent for it in envelopes if it.run.HasField("started"))
    fork = Fork(run_id=run.id, index=len(envelopes) - 1, agent=agent)
    begun = time.perf_counter()
    forked = await admit(bus, envelopes[0].run.requested.query.text, fork=fork, uses_memory=False)
    assert (await ended(bus, forked)).status == RUN_STATUS_COMPLETED
    return time.perf_counter() - begun


async def _long_run(bus: Bus) -> Aggregate:
    turn = Reply(calls=(Call("add", '{"a": 1}'),))
    async with OpenAIChatServer(*[turn] * TURNS, otherwise=Reply("Enough.")) as server:
        await put_agent(
            bus,
            model={"primary": {"provider": "openai_compat", "model": "stub-1", "endpoint": server.endpoint}},
            tools=[{"name": "add", "type": "internal", "function": "bench_tools:add", "effect": "read"}],
            orchestration={"pattern": "react", "max_iterations": TURNS + 1},
        )
        run = await admit(bus)
        await ended(bus, run)
        return run


@asynccontextmanager
async def _mesh() -> AsyncGenerator[Bus]:
    configure_logs("error", "json", record_content=False)
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        folder = Path(made)
        write_config(folder / "config", "http://127.0.0.1:9/v1")
        settings = Settings(config_dir=folder / "config", data_dir=folder / "data")
        async with compose(openers(_SERVICES), settings) as mesh:
            # The worker takes its partitions.
            await asyncio.sleep(0.2)
            yield mesh.platform.bus
