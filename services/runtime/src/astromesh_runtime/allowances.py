"""What the budgets of runs leave to the runs below them. Enforcing it is the router's. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from astromesh.v1.router_pb2 import Inherited
from astromesh.v1.run_events_pb2 import Ancestor, Lineage
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.budgets import Allowance

_NANOS = 1_000_000_000


def ancestors_below(
    lineage: Lineage, run_id: str, agent: ResourceRef, allowance: Allowance | None, spent: tuple[int, int]
) -> Iterator[Ancestor]:
    """The ancestors of a child of this run, which has spent so much: nanodollars, and tokens."""
    cost_nanos, tokens = spent
    for above in lineage.ancestors:
        lower = Ancestor()
        lower.CopyFrom(above)
        if lower.HasField("left_cost_nanos"):
            lower.left_cost_nanos = max(0, lower.left_cost_nanos - cost_nanos)
        if lower.HasField("left_tokens"):
            lower.left_tokens = max(0, lower.left_tokens - tokens)
        yield lower
    own = Ancestor(run_id=run_id, agent=agent)
    if allowance is not None and allowance.usd is not None:
        own.left_cost_nanos = max(0, round(allowance.usd * _NANOS) - cost_nanos)
    if allowance is not None and allowance.tokens is not None:
        own.left_tokens = max(0, allowance.tokens - tokens)
    yield own


def inherited(lineage: Lineage) -> Iterator[Inherited]:
    """What bounds each call of a run, of those above it that have a budget."""
    for above in lineage.ancestors:
        bound = Inherited(agent=above.agent)
        if above.HasField("left_cost_nanos"):
            bound.left_cost_nanos = above.left_cost_nanos
        if above.HasField("left_tokens"):
            bound.left_tokens = above.left_tokens
        if above.HasField("left_cost_nanos") or above.HasField("left_tokens"):
            yield bound
