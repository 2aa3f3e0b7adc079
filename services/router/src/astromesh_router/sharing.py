"""Keeps the circuits of all replicas one: each change of state is written, by compare-and-set, and heard by the others.

The record that stands wins; who comes second takes it over. But who saw an endpoint fail often enough opens a circuit
that stands closed. Without the bus each replica goes by what it knows itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Protocol

from astromesh.v1.endpoint_pb2 import CIRCUIT_STATE_CLOSED, CircuitRecord, EndpointRecord
from astromesh_core.breaker import Circuit, State
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.errors import AstromeshError, Conflict
from astromesh_core.telemetry.logs import logger
from astromesh_router.circuits import (
    CircuitId,
    Clock,
    Endpoint,
    circuit_key,
    circuit_record,
    lasting,
    pause_key,
    pause_record,
    read_circuit,
)

CLAIM_SECONDS = 1.0
"""How long the bus may take to give leave to probe, before a replica takes it by itself."""

LAST_SECONDS = 0.5
"""How long a replica that ends goes on telling."""

_ATTEMPTS = 5

_log = logger(__name__)


class Store(Protocol):
    """KV `endpoints`; see EndpointStore."""

    async def put(
        self, key: str, record: EndpointRecord, *, ttl: float, expected: int | None = None, seconds: float = 2.0
    ) -> int: ...

    async def newest(self, key: str) -> StoredEndpoint | None: ...


@dataclass
class Kept:
    """A circuit as this replica knows it."""

    identity: CircuitId
    circuit: Circuit = field(default_factory=Circuit)
    revision: int = 0
    """Of the newest record that is known; 0: of none."""
    shared: int = 0
    """The period of the circuit that others know of."""
    writing: asyncio.Task[None] | None = None


Moved = Callable[[Kept, Circuit], None]
"""Puts another circuit in the place of the one that is kept."""


class Sharing:
    """Writes and takes over circuits. `router` names this replica; `moved` is told what it learned from others."""

    def __init__(self, store: Store, router: str, clock: Clock, moved: Moved) -> None:
        self._store = store
        self._router = router
        self._clock = clock
        self._moved = moved
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, kept: Kept) -> None:
        """Has the others know of the circuit's newest state, soon."""
        if kept.writing is None or kept.writing.done():
            kept.writing = self._spawn(self._write(kept))

    async def claim(self, kept: Kept) -> bool:
        """Whether the half-open circuit's one probe is this replica's; else it was taken over as it stands."""
        probing = kept.circuit
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                if kept.writing is not None:
                    await asyncio.wait([kept.writing])
                return await self._establish(kept, probing)
        except (AstromeshError, TimeoutError) as error:
            _log.warning("an endpoint is tried without asking the other routers", reason=str(error) or "no answer")
            return kept.circuit is probing

    def hear(self, stored: StoredEndpoint, kept: Kept) -> None:
        """Takes over what another replica wrote of the circuit."""
        if stored.revision <= kept.revision:
            return
        kept.revision = stored.revision
        if stored.record.circuit.router != self._router:
            self._take_over(kept, stored.record.circuit)

    def pause(self, endpoint: Endpoint, until: float) -> None:
        """Has the others know that the endpoint's key has to wait."""
        self._spawn(self._write_pause(endpoint, until))

    async def close(self) -> None:
        """Ends what is being written, which has a moment left: a probe given up here is soon free elsewhere."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self, kept: Kept) -> None:
        for _ in range(_ATTEMPTS):
            if kept.shared == kept.circuit.period:
                return
            try:
                await self._establish(kept, kept.circuit)
            except AstromeshError as error:
                return _untold(error)

    async def _write_pause(self, endpoint: Endpoint, until: float) -> None:
        lasts = until - self._clock.seconds()
        try:
            await self._store.put(pause_key(endpoint), pause_record(endpoint, until, self._clock), ttl=lasts)
        except AstromeshError as error:
            _untold(error)

    async def _establish(self, kept: Kept, circuit: Circuit) -> bool:
        """Writes the circuit in the place of what stands: True where it now does, False where another was taken over.

        Raises AstromeshError where the bus does not answer.
        """
        key = circuit_key(kept.identity)
        record = circuit_record(kept.identity, circuit, self._router, self._clock)
        for _ in range(_ATTEMPTS):
            if kept.circuit is not circuit:
                break
            try:
                revision = await self._store.put(
                    key, record, expected=kept.revision, ttl=lasting(kept.identity, circuit)
                )
            except Conflict:
                self._reconsider(kept, circuit, await self._store.newest(key))
                continue
            kept.revision = max(kept.revision, revision)
            if kept.circuit is circuit:
                kept.shared = circuit.period
            break
        return kept.circuit is circuit

    def _reconsider(self, kept: Kept, ours: Circuit, newest: StoredEndpoint | None) -> None:
        """After another write came first: takes it over, unless ours may be tried again on top of it."""
        if kept.circuit is not ours:
            return
        if newest is None:
            kept.revision = 0  # it has expired
            return
        record, kept.revision = newest.record.circuit, newest.revision
        closed_before = record.state == CIRCUIT_STATE_CLOSED and ours.state is State.OPEN
        if record.router != self._router and not closed_before:
            self._take_over(kept, record)

    def _take_over(self, kept: Kept, record: CircuitRecord) -> None:
        circuit = read_circuit(record, kept.circuit.period + 1, self._clock)
        kept.shared = circuit.period
        self._moved(kept, circuit)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _untold(error: AstromeshError) -> None:
    _log.warning("other routers were not told of an endpoint's state", reason=error.message)
