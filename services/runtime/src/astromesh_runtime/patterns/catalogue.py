"""Every pattern by name and version. New runs take the newest; a stored run takes the one that it started with."""

from __future__ import annotations

from astromesh_runtime.effects import PatternFunction
from astromesh_runtime.patterns.parallel_fan_out.v1 import parallel_fan_out as parallel_fan_out_v1
from astromesh_runtime.patterns.pipeline.v1 import pipeline as pipeline_v1
from astromesh_runtime.patterns.plan_and_execute.v1 import plan_and_execute as plan_and_execute_v1
from astromesh_runtime.patterns.react.v1 import react as react_v1
from astromesh_runtime.patterns.supervisor.v1 import supervisor as supervisor_v1
from astromesh_runtime.patterns.swarm.v1 import swarm as swarm_v1

PATTERNS: dict[tuple[str, int], PatternFunction] = {
    ("react", 1): react_v1,
    ("plan_and_execute", 1): plan_and_execute_v1,
    ("pipeline", 1): pipeline_v1,
    ("parallel_fan_out", 1): parallel_fan_out_v1,
    ("supervisor", 1): supervisor_v1,
    ("swarm", 1): swarm_v1,
}


def newest(name: str) -> int | None:
    """The newest version of a pattern; None where there is no such pattern."""
    return max((version for pattern, version in PATTERNS if pattern == name), default=None)


def pattern_function(name: str, version: int) -> PatternFunction | None:
    """The pattern of a stored run; None where this release does not hold it."""
    return PATTERNS.get((name, version))
