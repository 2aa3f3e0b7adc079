"""From the start of `astromesh up` until it is ready, and what it holds of memory when nobody asks anything."""

from __future__ import annotations

import time
from collections.abc import Iterator

import mesh
from figures import Figure
from processes import resident_bytes

SCENARIO = "Cold start and idle memory, all in one process"
TRIALS = 7
IDLE_SECONDS = 3.0
_NOWHERE = "http://127.0.0.1:9/v1"


def measure(share: float) -> Iterator[Figure]:
    """Median and worst of some starts; memory after a rest."""
    starts = list[float]()
    used = dict[str, int]()
    for _ in range(max(3, int(TRIALS * share))):
        with mesh.mesh(_NOWHERE) as running:
            starts.append(running.ready_seconds)
            if not used:
                time.sleep(IDLE_SECONDS)
                used = resident_bytes(running.pid)
    starts.sort()
    told = f"{starts[len(starts) // 2]:.2f} s median, {starts[-1]:.2f} s worst of {len(starts)}"
    yield Figure(SCENARIO, "cold start to ready", mesh.NAME, told, "≤ 2 s, goal 1.5 s")
    parts = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in used.items())
    yield Figure(
        SCENARIO, "idle RSS", mesh.NAME, f"{sum(used.values()) / 1e6:.0f} MB ({parts})", "≤ 200 MB, goal 150 MB"
    )
