"""What a tool call costs over the function itself in a durable run, fsyncs counted, and what an MCP call costs through
the tools service over the SDK's own client, against the same server.

python bench/tool_calls.py '{"endpoint": "http://127.0.0.1:9/v1", "address": "http://127.0.0.1:8/mcp", …}' is the
measured process: all services but the gateway, on one core. Model and MCP server are on the other one.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nats
import uvloop
from figures import Figure
from mcp import Client, StdioServerParameters
from processes import cores, free_port, reported, running, stub_model, wait_until_listening

from astromesh.v1.tools_pb2 import ExecuteToolRequest
from astromesh.v1.tools_pb2_grpc import ToolsServiceStub
from astromesh.v1.values_pb2 import ResourceRef, ToolCall
from astromesh_cli.serving.placement import SERVICES, openers
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.credentials import Credentials, credentials_path, load_credentials
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.bus.permissions import ADMIN, MESH, inbox_of
from astromesh_core.events.contents import text_content
from astromesh_core.launcher import Mesh, compose
from astromesh_core.settings import Settings
from astromesh_core.telemetry.logs import configure_logs
from astromesh_testing.admission import admit, put_agent

IN_RUNS = "A tool call in a durable run, one at a time"
OVER_MCP = "A call of an MCP tool, one at a time"
RUNS = 400
CALLS = 600
_BATCH = 30
"""Calls in a row before the other side has its turn: both see the same machine."""
_WARM = 30
_TOOL = '''"""The tool of the benchmark."""


def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b
'''
_SERVER = '''"""The MCP server of the benchmark: the same function."""

import sys

from mcp.server import MCPServer

server = MCPServer("bench")


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


if len(sys.argv) > 1:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run("stdio")
'''


@dataclass(frozen=True, slots=True)
class Plan:
    """What the measured process is to do."""

    endpoint: str
    address: str
    server: str
    folder: str
    runs: int
    calls: int


def measure(share: float) -> Iterator[Figure]:
    """Both scenarios, from one process."""
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made, stub_model(Path(made)) as endpoint:
        server, port = Path(made) / "mcp_server.py", free_port()
        server.write_text(_SERVER)
        with running([sys.executable, str(server), str(port)], cores()[1], output=Path(made) / "mcp.log") as process:
            wait_until_listening(port, process)
            address = f"http://127.0.0.1:{port}/mcp"
            runs, calls = max(50, int(RUNS * share)), max(2 * _BATCH, int(CALLS * share))
            plan = Plan(endpoint, address, str(server), made, runs, calls)
            told = reported(__file__, json.dumps(asdict(plan)), cores()[0])
    yield from _in_runs(told)
    yield from _over_mcp(told)


def _in_runs(told: dict[str, Any]) -> Iterator[Figure]:
    append, sync = told["append_ms"], told["sync_ms"]
    yield Figure(IN_RUNS, "the function itself, p50", "Python", f"{told['bare_us']:.2f} µs")
    yield Figure(IN_RUNS, "one stored commit, p50", "ours", f"{append:.2f} ms, of which fdatasync {sync:.2f} ms")
    bare = told["messages"]["none"]
    for effect in ("read", "write"):
        gap, target = told["gaps"][effect], f"≤ {2 * append + 1:.2f} ms (2 commits + 1 ms)"
        told_gap = f"p50 {gap[0]:.2f} ms, p95 {gap[1]:.2f} ms"
        yield Figure(IN_RUNS, f"{effect}: from the model's reply to its next call", "ours", told_gap, target)
        commits = told["messages"][effect]
        # The second model call has no commit of its own: what it adds rides with its neighbours.
        more = f"{commits - bare:+.2f} a run ({commits:.2f} beside {bare:.2f} without a tool)"
        yield Figure(IN_RUNS, f"{effect}: commits, each one fsync", "ours", more, "≤ +2")


def _over_mcp(told: dict[str, Any]) -> Iterator[Figure]:
    for way, (ours, theirs) in told["mcp"].items():
        yield Figure(OVER_MCP, f"{way}, p50", "the SDK's client", f"{theirs:.2f} ms")
        yield Figure(OVER_MCP, f"{way}, p50", "ours", f"{ours:.2f} ms, {ours / theirs:.2f} ×", "≤ 1.2 ×")


async def _measured(plan: Plan) -> dict[str, Any]:
    configure_logs("error", "json", record_content=False)
    async with _mesh(Path(plan.folder)) as (mesh, credentials, url):
        bus = mesh.platform.bus
        model: dict[str, object] = {
            "primary": {"provider": "openai_compat", "model": "stub-1", "endpoint": plan.endpoint}
        }
        for effect in ("none", "read", "write"):
            add = {"name": "add", "type": "internal", "function": "bench_tools:add", "effect": effect}
            await put_agent(bus, effect, model=model, tools=[] if effect == "none" else [add])
        connection = await nats.connect(  # pyright: ignore[reportUnknownMemberType] - its options are not typed
            url, user=credentials.user, password=credentials.password, inbox_prefix=inbox_of(credentials.user)
        )
        try:
            gaps, messages, appends = dict[str, Any](), dict[str, float](), list[float]()
            for effect in ("none", "read", "write"):
                before, found = await _messages(connection), list[float]()
                for number in range(plan.runs):
                    await _run(bus, effect, found if number >= _WARM else [], appends)
                messages[effect] = (await _messages(connection) - before) / plan.runs
                gaps[effect] = _quantiles(found) if found else []
        finally:
            await connection.close()
        mcp = {way: await _mcp(mesh, bus, model, declared, target, plan) for way, declared, target in _ways(plan)}
    return {
        "bare_us": _bare() * 1e6,
        "append_ms": statistics.median(appends) * 1e3,
        "sync_ms": _sync(Path(plan.folder)) * 1e3,
        "gaps": gaps,
        "messages": messages,
        "mcp": mcp,
    }


@asynccontextmanager
async def _mesh(folder: Path) -> AsyncGenerator[tuple[Mesh, Credentials, str]]:
    (folder / "config" / "tools").mkdir(parents=True)
    (folder / "config" / "tools" / "bench_tools.py").write_text(_TOOL)
    async with EmbeddedServer(folder / "data") as server:
        place = credentials_path(server.credentials_folder, MESH)
        settings = Settings(
            config_dir=folder / "config", data_dir=folder / "data", nats_url=server.url, nats_credentials=place
        )
        services = [name for name in SERVICES if name not in ("gateway", "operator")]
        async with compose(openers(services), settings) as mesh:
            admin = load_credentials(credentials_path(server.credentials_folder, ADMIN))
            yield mesh, admin, server.url


async def _run(bus: Bus, agent: str, gaps: list[float], appends: list[float]) -> None:
    """One run to its end: its tool call's time without the function's own, and that of its first commit."""
    begun = time.perf_counter()
    run = await admit(bus, agent=agent)
    appends.append(time.perf_counter() - begun)
    replied = own = 0
    async with aclosing(bus.log.follow(run)) as events:
        async for event in events:
            envelope, body = event.envelope, event.envelope.run
            if body.HasField("model_replied"):
                replied = envelope.time_unix_nano
            elif body.HasField("tool_succeeded"):
                own = body.tool_succeeded.timing.duration_nano
            elif body.HasField("model_call_begun") and own:
                gaps.append((envelope.time_unix_nano - replied - own) / 1e6)


async def _messages(connection: Any) -> int:
    """Commits in the log of runs."""
    info = await connection.jetstream().stream_info("RUNS")
    return int(info.state.messages)


def _ways(plan: Plan) -> list[tuple[str, dict[str, object], Any]]:
    stdio = StdioServerParameters(command=sys.executable, args=[plan.server])
    return [
        ("streamable HTTP", {"url": plan.address, "allow_private": True}, plan.address),
        ("stdio", {"command": sys.executable, "args": [plan.server]}, stdio),
    ]


async def _mcp(
    mesh: Mesh, bus: Bus, model: dict[str, object], declared: dict[str, object], target: Any, plan: Plan
) -> tuple[float, float]:
    """The medians of ours and of the SDK's client, in turns."""
    tool = {"name": "bench", "type": "mcp", "timeout": 30, **declared}
    agent = await put_agent(bus, f"over-{next(iter(declared))}", model=model, tools=[tool])
    stub = ToolsServiceStub(mesh.platform.connections.channel("tools"))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(target))
        sides: list[Callable[[], Awaitable[object]]] = [
            lambda: _ours(stub, agent),
            lambda: client.call_tool("add", {"a": 1}),
        ]
        times: list[list[float]] = [[], []]
        for number in range(plan.calls // _BATCH + 1):
            for side, into in zip(sides, times, strict=True):
                for _ in range(_BATCH):
                    begun = time.perf_counter()
                    await side()
                    if number:
                        into.append(time.perf_counter() - begun)
    ours, theirs = (statistics.median(each) * 1e3 for each in times)
    return ours, theirs


async def _ours(stub: Any, agent: ResourceRef) -> None:
    call = ToolCall(id="c", name="add", arguments=text_content('{"a": 1}'))
    response = await stub.ExecuteTool(ExecuteToolRequest(agent=agent, call=call), timeout=30)
    if not response.HasField("result"):
        raise RuntimeError(f"an answer that was not expected: {response}")


def _bare() -> float:
    """Seconds of the function."""
    space: dict[str, Any] = {}
    exec(_TOOL, space)
    add, count = space["add"], 100_000
    begun = time.perf_counter()
    for _ in range(count):
        add(1)
    return (time.perf_counter() - begun) / count


def _sync(folder: Path) -> float:
    """The median of writing two kilobytes and having them on disk."""
    times = list[float]()
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            begun = time.perf_counter()
            file.write(bytes(2048))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _quantiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(_measured(Plan(**json.loads(sys.argv[1]))))))
