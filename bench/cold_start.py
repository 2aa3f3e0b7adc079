"""From the start of `astromesh up` until it is ready, what it holds and uses at rest, and how long commands take that
only talk to it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mesh
from figures import Figure
from processes import cpu_seconds, resident_bytes

SCENARIO = "Cold start and rest, all in one process"
TRIALS = 7
SETTLED_SECONDS = 5.0
REST_SECONDS = 20.0
COMMANDS = (("--help",), ("runs", "list"))
_NOWHERE = "http://127.0.0.1:9/v1"


def measure(share: float) -> Iterator[Figure]:
    """Starts with nothing there, starts on what those left, a rest, and commands."""
    trials = max(3, int(TRIALS * share))
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        folders = [Path(made) / str(number) for number in range(trials)]
        for what in ("new data folder", "data folder of before"):
            starts = [_started(folder) for folder in folders]
            yield Figure(SCENARIO, f"cold start to ready, {what}", mesh.NAME, _spread(starts), "≤ 2 s, goal 1.5 s")
        with mesh.mesh(_NOWHERE, folders[0]) as running:
            time.sleep(SETTLED_SECONDS)
            yield from _rest(running.pid)
            for command in COMMANDS:
                took = [_command(running.port, *command) for _ in range(trials)]
                yield Figure(SCENARIO, f"astromesh {' '.join(command)}", mesh.NAME, _spread(took), "≤ 0.3 s")


def _started(folder: Path) -> float:
    with mesh.mesh(_NOWHERE, folder) as running:
        return running.ready_seconds


def _rest(pid: int) -> Iterator[Figure]:
    earlier = cpu_seconds(pid)
    time.sleep(REST_SECONDS)
    used, held = cpu_seconds(pid), resident_bytes(pid)
    memory = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in held.items())
    total = f"{sum(held.values()) / 1e6:.0f} MB ({memory})"
    yield Figure(SCENARIO, "RSS at rest", mesh.NAME, total, "≤ 200 MB, goal 150 MB")
    shares = {name: (seconds - earlier.get(name, 0.0)) / REST_SECONDS for name, seconds in used.items()}
    told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    yield Figure(SCENARIO, "CPU at rest, of a core", mesh.NAME, told, "< 2 %")


def _command(port: int, *words: str) -> float:
    command = [str(Path(sys.executable).with_name("astromesh")), *words]
    begun = time.perf_counter()
    environment = {"ASTROMESH_URL": f"http://127.0.0.1:{port}", "PATH": "/usr/bin:/bin"}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def _spread(seconds: list[float]) -> str:
    ranked = sorted(seconds)
    return f"{ranked[len(ranked) // 2]:.2f} s median, {ranked[-1]:.2f} s worst of {len(ranked)}"
