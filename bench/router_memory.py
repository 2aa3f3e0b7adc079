"""Memory of a router process over many calls: it grows while caches fill, and must then stay."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure
from processes import cores, resident_bytes, stub_model
from router_latency import OURS
from router_load import Plan, measured
from router_places import router
from router_ways import Way

SCENARIO = "The router: memory over many model calls, 64 at once"
CALLS = 200_000
_STEPS = 10


def measure(share: float) -> Iterator[Figure]:
    """RSS after a tenth of the calls and after all of them."""
    step = max(500, int(CALLS * share) // _STEPS)
    seen = list[dict[str, int]]()
    with tempfile.TemporaryDirectory() as made, stub_model(Path(made)) as endpoint, router(endpoint) as place:
        plan = Plan((Way(OURS, "rpc", place.at, token=place.token),), full=step, warm=0)
        for _ in range(_STEPS):
            measured(plan, cores()[1])
            seen.append(resident_bytes(place.pid))
    for name, after in seen[-1].items():
        first = seen[0].get(name, after)
        told = f"{first / 1e6:.1f} MB after {step:,}, {after / 1e6:.1f} MB after {step * _STEPS:,} calls"
        target = "< 5 % over 200,000" if name == "python" else ""
        yield Figure(SCENARIO, name, OURS, f"{told} ({(after / first - 1) * 100:+.1f} %)", target)
