"""Agents that would run themselves by way of others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.yaml_documents import Path

Asked = Mapping[ResourceKey, Sequence[tuple[Path, ResourceKey]]]
"""Whom each agent asks, and where that is written. What is no agent is passed by."""


def cycles(asked: Asked) -> Iterator[tuple[ResourceKey, Path, list[ResourceKey]]]:
    """Lists every agent that comes back to itself: it, where its way begins, and the way."""
    for agent, links in asked.items():
        for path, other in links:
            way = _way(asked, other, agent)
            if way is not None:
                yield agent, path, [agent, *way]
                break


def _way(asked: Asked, start: ResourceKey, end: ResourceKey) -> list[ResourceKey] | None:
    """A shortest way from one agent to another; None where there is none."""
    ways, seen = [[start]], {start}
    for way in ways:
        if way[-1] == end:
            return way
        for _, other in asked.get(way[-1], ()):
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return None
