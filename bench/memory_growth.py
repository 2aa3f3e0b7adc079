"""Memory over many runs: it grows while caches fill, which they have after 5,000 runs, and must then stay.

That of nats-server holds its index of subjects, 220 bytes a run, and what it keeps for seconds or minutes by how fast
it is written to: message ids for its deduplication, and blocks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import mesh
from durable_runs import ANSWER
from figures import Figure
from load import Load, generate
from processes import resident_bytes, stub_model

SCENARIO = "Memory over many one-tool runs, 64 at once"
RUNS = 100_000
SAMPLED = 0.1
_STEPS = 10


def measure(share: float) -> Iterator[Figure]:
    """RSS after a tenth of the runs and after all of them. Sampled unless `share` is above 1."""
    runs = RUNS if share > 1 else int(RUNS * SAMPLED * share)
    step = max(200, runs // _STEPS)
    seen = list[dict[str, int]]()
    with tempfile.TemporaryDirectory() as made, stub_model(Path(made)) as endpoint, mesh.mesh(endpoint) as running:
        for _ in range(_STEPS):
            generate(Load(running.port, running.path(mesh.ONE_TOOL), 64, step, ANSWER, warm=0))
            seen.append(resident_bytes(running.pid))
    for name, after in seen[-1].items():
        first = seen[0].get(name, after)
        told = f"{first / 1e6:.0f} MB after {step:,}, {after / 1e6:.0f} MB after {step * _STEPS:,} runs"
        target = "< 5 % over 100,000" if name != "nats-server" else "its index: 220 bytes a run"
        yield Figure(SCENARIO, name, mesh.NAME, f"{told} ({(after / first - 1) * 100:+.1f} %)", target)
