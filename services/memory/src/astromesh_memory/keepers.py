"""The stores of semantic and episodic memory that agents declare, each with its keeper, and leaving those that none
declares any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import ValidationError

from astromesh.v1.control_pb2 import MANAGED_BY_FILE
from astromesh_core.errors import AstromeshError
from astromesh_core.resources.agent_memory import EpisodicMemory, SemanticMemory
from astromesh_core.telemetry.logs import logger
from astromesh_memory.declared import Declared, Remembers, place_json, remembers
from astromesh_memory.runs.changes import KINDS, Kind
from astromesh_memory.runs.keeping import AgentKey, Keeper, Runs, Sink
from astromesh_memory.runs.ledger import KeptAt, Touched
from astromesh_memory.runs.thread import LedgerThread

if TYPE_CHECKING:
    from astromesh.v1.control_pb2 import ResourceRecord
    from astromesh_core.bus.positions import Position
    from astromesh_core.bus.resource_store import ResourceChange


class OpenSink(Protocol):
    """Opens the store that an agent declares."""

    async def __call__(self, key: AgentKey, declared: Declared, *, confined: bool) -> Sink:
        """Raises an AstromeshError; of a TemporaryError the call may be repeated."""
        ...


LEAVE_AGAIN_SECONDS: Final = 60.0

_log = logger(__name__)
_SPECS: Final[dict[str, type[Declared]]] = {"semantic": SemanticMemory, "episodic": EpisodicMemory}


class Keepers:
    """Keepers by agent and kind of memory, from `follow` to `close`."""

    def __init__(
        self, ledger: LedgerThread, runs: Runs, open_sink: OpenSink, read_log: Callable[[], Awaitable[None]]
    ) -> None:
        """`read_log` is awaited before a keeper starts: without any, nobody need read the log for them."""
        self._ledger = ledger
        self._runs = runs
        self._open_sink = open_sink
        self._read_log = read_log
        self._keepers: dict[AgentKey, Keeper] = {}
        self._places: dict[AgentKey, KeptAt] = {}
        self._declared: dict[tuple[str, str], Remembers] = {}
        self._stale = asyncio.Event()

    def declared(self, namespace: str, agent: str) -> Remembers | None:
        """What the agent declares now: nothing, where it is gone; None for one that is not known (yet)."""
        return self._declared.get((namespace, agent))

    def of(self, key: AgentKey) -> Keeper | None:
        """The keeper of what an agent declares now."""
        return self._keepers.get(key)

    def agents(self) -> dict[tuple[str, str], Remembers]:
        """What every agent declares that has any such memory."""
        return {agent: declared for agent, declared in self._declared.items() if any(declared)}

    def tell(self, touched: Touched, position: Position) -> None:
        """Passes on that something else is remembered of a run."""
        for kind in KINDS:
            keeper = self._keepers.get(AgentKey(touched.namespace, touched.agent, kind))
            if keeper is not None:
                keeper.offer(touched, position)

    async def follow(self, changes: AsyncGenerator[ResourceChange, None]) -> None:
        """Opens and closes stores as agents declare them, for as long as the changes come."""
        async with aclosing(changes):
            async for change in changes:
                if change.kind == "Agent":
                    await self._changed(change.namespace, change.name, change.record)

    async def leave(self, synced: asyncio.Event) -> None:
        """Empties the places in which agents kept something once and no longer do; tries again what fails. Endless."""
        await synced.wait()
        while True:
            left = [await self._leave(place) for place in await self._ledger.places() - set(self._places.values())]
            with suppress(TimeoutError):
                async with asyncio.timeout(None if all(left) else LEAVE_AGAIN_SECONDS):
                    await self._stale.wait()
            self._stale.clear()

    async def close(self) -> None:
        """Stops every keeper and closes its store."""
        for keeper in self._keepers.values():
            await keeper.close()

    async def _changed(self, namespace: str, agent: str, record: ResourceRecord | None) -> None:
        try:
            declared = remembers(record.spec_json) if record is not None else Remembers()
        except ValidationError as error:
            _log.warning("an agent's memory cannot be read", agent=agent, reason=str(error))
            return
        for kind in KINDS:
            confined = record is None or record.managed_by != MANAGED_BY_FILE
            await self._declare(AgentKey(namespace, agent, kind), declared.of(kind), confined=confined)
        self._declared[namespace, agent] = declared

    async def _declare(self, key: AgentKey, declared: Declared | None, *, confined: bool) -> None:
        place = KeptAt(*key, place_json(key.kind, declared), int(confined)) if declared is not None else None
        if place == self._places.get(key):
            return
        keeper = self._keepers.pop(key, None)
        if keeper is not None:
            await keeper.close()
            del self._places[key]
            self._stale.set()
        if declared is not None and place is not None:
            await self._start(key, declared, place)

    async def _start(self, key: AgentKey, declared: Declared, place: KeptAt) -> None:
        await self._read_log()
        await self._ledger.note_place(place)
        self._places[key] = place

        async def open_sink() -> Sink:
            return await self._open_sink(key, declared, confined=bool(place.confined))

        keeper = self._keepers[key] = Keeper(key, open_sink, self._ledger, self._runs)
        keeper.start()

    async def _leave(self, place: KeptAt) -> bool:
        """Whether nothing of the agent is left in the place."""
        kind: Kind = "semantic" if place.kind == "semantic" else "episodic"
        key = AgentKey(place.namespace, place.agent, kind)
        try:
            sink = await self._open_sink(key, _SPECS[kind].from_json(place.spec_json), confined=bool(place.confined))
            try:
                await sink.remove(list(await sink.versions()))
            finally:
                await sink.close()
        except (AstromeshError, ValidationError) as error:
            _log.warning("a store that an agent left still holds its memory", agent=place.agent, reason=str(error))
            return False
        if self._places.get(key) == place:
            # It was declared again meanwhile.
            self._keepers[key].again()
        else:
            await self._ledger.leave_place(place)
        return True
