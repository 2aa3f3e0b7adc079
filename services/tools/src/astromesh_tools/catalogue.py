"""What an agent may call: tools of its own file, and those that others offer it, such as MCP servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from typing_extensions import TypeIs

from astromesh.v1.tools_pb2 import ToolSource as SourceHealth
from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.errors import InvalidInput, LimitExceeded
from astromesh_tools.tool import Tool

MOST_BYTES: Final = 400_000
"""Of the specs that others offer an agent: they stand in an event of each run, and go with each call of a model."""


@dataclass(frozen=True)
class Offer:
    """What somebody offers at the moment, and how they are doing."""

    tools: Mapping[str, Tool]
    health: SourceHealth


class ToolSource(Protocol):
    """Somebody who offers an agent tools under names of their own: one entry of its file."""

    @property
    def entry(self) -> str:
        """The name of the entry."""
        ...

    @property
    def latest(self) -> Offer | None:
        """What was offered last, as far as anybody asked."""
        ...

    async def offer(self) -> Offer:
        """What is offered now. Who cannot offer anything says so in the health; it may take as long as connecting."""
        ...

    def pinned(self, spec: ToolSpec) -> Tool | None:
        """The tool as a run's catalogue has it, whatever is offered by now; None for one of somebody else."""
        ...


@dataclass(frozen=True)
class Catalogue:
    """Tools by name, in the order of the file, and how those who offer some of them are doing."""

    tools: Mapping[str, Tool]
    sources: Sequence[SourceHealth] = ()


class Toolbox:
    """The tools of one version of an agent."""

    def __init__(self, entries: Iterable[Tool | ToolSource]) -> None:
        self._entries = tuple(entries)
        self._own = {each.spec.name: each for each in self._entries if not is_source(each)}
        self._sources = [each for each in self._entries if is_source(each)]
        self._fixed = Catalogue(self._own)
        self.reader = next((name for name, tool in self._own.items() if tool.spec.reads_results), "")
        """The tool by which the agent reads what is cut off from results; "" where it has none."""

    @property
    def names(self) -> list[str]:
        """Every name that is known without asking anybody."""
        offers = [source.latest for source in self._sources]
        return [*self._own, *(name for offer in offers if offer is not None for name in offer.tools)]

    async def catalogue(self) -> Catalogue:
        """What the agent may call now; those who offer tools are asked all at once.

        Raises InvalidInput for two tools of one name, LimitExceeded for more than a model can be told of.
        """
        if not self._sources:
            return self._fixed
        offers = await asyncio.gather(*(source.offer() for source in self._sources))
        offered = {id(source): offer for source, offer in zip(self._sources, offers, strict=True)}
        tools = dict[str, Tool]()
        owners = dict[str, str]()
        for entry in self._entries:
            offer = offered.get(id(entry))
            found = offer.tools if offer is not None else {entry.spec.name: entry} if not is_source(entry) else {}
            owner = entry.entry if is_source(entry) else ""
            for name, tool in found.items():
                _check_collision(name, owners.get(name), owner)
                tools[name], owners[name] = tool, owner
        _check_size(tools, owners)
        return Catalogue(tools, [offer.health for offer in offers])

    async def find(self, name: str, pinned: ToolSpec | None = None) -> Tool | None:
        """The tool of this name: as a run's catalogue has it where that is given, else as it is offered now."""
        own = self._own.get(name)
        if own is not None or not self._sources:
            return own
        for source in self._sources:
            if pinned is not None:
                tool = source.pinned(pinned)
            else:
                tool = source.latest.tools.get(name) if source.latest is not None else None
            if tool is not None:
                return tool
        return None if pinned is not None else (await self.catalogue()).tools.get(name)


def is_source(entry: Tool | ToolSource) -> TypeIs[ToolSource]:
    """Whether an entry stands for the tools of somebody else."""
    return hasattr(entry, "offer")


def _check_collision(name: str, other: str | None, owner: str) -> None:
    if other is not None:
        whose = [each or "the agent's own file" for each in (other, owner)]
        raise InvalidInput(
            f"two tools are called {name}, of {whose[0]} and of {whose[1]}: give one of the servers a prefix, "
            "or leave the tool out by tools.exclude"
        )


def _check_size(tools: Mapping[str, Tool], owners: Mapping[str, str]) -> None:
    sizes = dict[str, int]()
    for name, tool in tools.items():
        sizes[owners[name]] = sizes.get(owners[name], 0) + tool.spec.ByteSize()
    sizes.pop("", None)
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda owner: sizes[owner])
        count = sum(owner == largest for owner in owners.values())
        raise LimitExceeded(
            f"{largest} offers {count} tools, whose descriptions and schemas take {sizes[largest]} bytes; an agent's "
            f"may take {MOST_BYTES}: choose those that it needs by tools.include"
        )
