"""Runs a second and their times at 1, 16 and 64 at once: ours over HTTP, every commit stored; rivals as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import mesh
import rivals
from figures import Figure
from load import Load, generate
from processes import cpu_seconds, stub_model

SCENARIO = "Durable ReAct runs, one server core, the same stub model"
AT_ONCE = {1: 300, 16: 1_500, 64: 4_000}
"""Runs that are measured at each."""
ANSWER = "forty-two"
_TARGETS = {1: "p50 ≤ 6 ms", 16: "", 64: "≥ 300/s, goal 450/s; p95/p50 ≤ 2"}


def measure(share: float) -> Iterator[Figure]:
    """`share` of the runs; every figure as soon as it is there."""
    with tempfile.TemporaryDirectory() as made, stub_model(Path(made)) as endpoint:
        for agent in (mesh.ONE_TOOL, mesh.NO_TOOL):
            yield from ours(endpoint, agent, share)
            for rival in rivals.ALL:
                yield from theirs(rival, endpoint, agent, share)


def ours(endpoint: str, agent: str, share: float) -> Iterator[Figure]:
    """Our runs, and the CPU time that one takes."""
    with mesh.mesh(endpoint) as running:
        for at_once, runs in AT_ONCE.items():
            before = cpu_seconds(running.pid)
            load = Load(running.port, running.path(agent), at_once, max(50, int(runs * share)), ANSWER)
            latencies = generate(load)
            target = _TARGETS[at_once] if agent == mesh.ONE_TOOL else ""
            yield Figure(SCENARIO, f"{agent}, {at_once} at once", mesh.NAME, latencies.summary(), target)
            count = load.requests + load.warm
            used = {name: (now - before.get(name, 0.0)) / count for name, now in cpu_seconds(running.pid).items()}
            shown = ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in used.items())
            yield Figure(SCENARIO, f"{agent}, {at_once} at once: CPU a run", mesh.NAME, shown)


def theirs(rival: rivals.Rival, endpoint: str, agent: str, share: float) -> Iterator[Figure]:
    """A rival's runs; one line with the reason where it cannot run here."""
    try:
        for at_once, runs in AT_ONCE.items():
            latencies = rival.run(endpoint, agent, at_once, max(50, int(runs * share * rival.slower)))
            yield Figure(SCENARIO, f"{agent}, {at_once} at once", rival.name, latencies.summary())
    except rivals.NotMeasured as reason:
        yield Figure(SCENARIO, agent, rival.name, f"not measured: {reason}")
