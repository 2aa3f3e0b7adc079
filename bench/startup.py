"""Measures `astromesh up`: process start to the first 200 of /v1/health/ready, and what an idle mesh then costs.

python bench/startup.py           All services in one process, on the sample config. STARTS=20 starts it more often.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).parent / "astromesh"
STARTS = int(os.environ.get("STARTS", "10"))
GIVE_UP_SECONDS = 30.0
POLL_SECONDS = 0.005
IDLE_AFTER_SECONDS = 10.0
IDLE_FOR_SECONDS = 20.0
CLIENT_COMMANDS = (("--help",), ("runs", "list"))
MB = 1e6


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    value: str
    target: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds and used: megabytes resident, and seconds of CPU since it started."""

    name: str
    resident: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Started:
    """A mesh that is ready."""

    process: subprocess.Popen[bytes]
    port: int
    seconds: float
    """From the start of the process until it was ready."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(ROOT / "config", work / "config")
        figures = [*cold_starts(work), *idle(work), *client_commands(work)]
    for figure in figures:
        print(f"{figure.name:<58}{figure.value:>20}   {figure.target}")


def cold_starts(work: Path) -> list[Figure]:
    """Starts with nothing there, each in a data folder of its own; then on what the last one left."""
    fresh = [start_once(work, f"data-{number}") for number in range(STARTS)]
    again = [start_once(work, "data-0") for _ in range(STARTS)]
    return [
        Figure("cold start to ready, new data folder, p50 / p95", spread(fresh), "goal 1.5 s, at most 2 s"),
        Figure("cold start to ready, data folder of before, p50 / p95", spread(again), "goal 1.5 s, at most 2 s"),
    ]


def start_once(work: Path, data: str) -> float:
    with mesh(work, data) as started:
        return started.seconds


def idle(work: Path) -> list[Figure]:
    """One mesh at rest, after it has taken in the sample's documents."""
    with mesh(work, "data-0") as started:
        time.sleep(IDLE_AFTER_SECONDS)
        before = footprints(started.process.pid)
        time.sleep(IDLE_FOR_SECONDS)
        after = footprints(started.process.pid)
    ours, server = after[0], next(part for part in after if part.name.startswith("nats"))
    busy = {part.name: (part.cpu - earlier.cpu) / IDLE_FOR_SECONDS for part, earlier in zip(after, before, strict=True)}
    growth = (ours.resident - before[0].resident) * 1e3 / IDLE_FOR_SECONDS
    return [
        Figure("RSS at rest, every service in one process", f"{ours.resident:.0f} MB", "goal 150 MB, at most 200 MB"),
        Figure("RSS at rest, its nats-server", f"{server.resident:.0f} MB", ""),
        Figure("growth at rest", f"{growth:.1f} KB/s", "0"),
        Figure("CPU at rest, every service in one process", f"{busy[ours.name]:.1%}", "< 2 % of a core"),
        Figure("CPU at rest, its nats-server", f"{busy[server.name]:.1%}", ""),
    ]


def client_commands(work: Path) -> list[Figure]:
    """Commands that only talk to a mesh, or only print."""
    figures: list[Figure] = []
    with mesh(work, "data-0") as started:
        address = f"http://127.0.0.1:{started.port}"
        for command in CLIENT_COMMANDS:
            seconds = [run_command(command, address) for _ in range(STARTS)]
            figures.append(Figure(f"astromesh {' '.join(command)}, p50 / p95", spread(seconds), "< 0.4 s"))
    return figures


def run_command(command: tuple[str, ...], address: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [COMMAND, *command], env=os.environ | {"ASTROMESH_URL": address}, stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - begun


@contextmanager
def mesh(work: Path, data: str) -> Generator[Started]:
    """A mesh that is ready within the block, and has ended after it."""
    port, grpc_port = free_ports()
    options = ("--config", work / "config", "--data", work / data, "--port", str(port), "--grpc-port", str(grpc_port))
    with (work / "errors").open("wb") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen([COMMAND, "up", *options], stderr=errors)
        try:
            until_ready(process, port, work / "errors")
            yield Started(process, port, time.perf_counter() - begun)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(GIVE_UP_SECONDS)


def until_ready(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    """Returns at the first 200. Ends the bench, with what the mesh said, where there is none."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    said = "it did not answer"
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(POLL_SECONDS)
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v1/health/ready")
            response = connection.getresponse()
            said = response.read().decode()
            if response.status == 200:
                return
        except (OSError, HTTPException):
            continue
        finally:
            connection.close()
    sys.exit(f"The mesh is not ready: {said}\n{errors.read_text()}")


def footprints(pid: int) -> list[Footprint]:
    """The process and everything under it, itself first."""
    process = psutil.Process(pid)
    return [footprint(part) for part in (process, *process.children(recursive=True))]


def footprint(process: psutil.Process) -> Footprint:
    times = process.cpu_times()
    return Footprint(process.name(), process.memory_info().rss / MB, times.user + times.system)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def spread(seconds: list[float]) -> str:
    ranked = sorted(seconds)
    at = min(len(ranked) - 1, round(0.95 * (len(ranked) - 1)))
    return f"{statistics.median(ranked):.2f} / {ranked[at]:.2f} s"


if __name__ == "__main__":
    main()
