"""A probe's slot is free again, whenever and wherever its call ends: also before the bus has granted it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from astromesh.v1.endpoint_pb2 import EndpointRecord
from astromesh_core.breaker import State
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.errors import Conflict
from astromesh_core.telemetry.metrics import Metrics
from astromesh_router.breakers import SharedBreakers
from astromesh_router.circuits import circuit_key, circuit_of, endpoint_of, read_circuit
from astromesh_router.ports import Refusal
from astromesh_testing.waiting import until

from .test_breakers import CANDIDATE, Hands, fail

KEY = circuit_key(circuit_of(CANDIDATE))


@dataclass
class SlowStore:
    """Compare-and-set in memory. While `held`, a write is not answered, though it may have been stored: `loses` says
    which."""

    stored: dict[str, StoredEndpoint] = field(default_factory=dict[str, StoredEndpoint])
    held: bool = False
    loses: bool = False
    writes: int = 0

    async def put(
        self, key: str, record: EndpointRecord, *, ttl: float, expected: int | None = None, seconds: float = 2.0
    ) -> int:
        held = self.held
        if held and self.loses:
            await asyncio.Event().wait()
        current = self.stored.get(key)
        if expected is not None and expected != (current.revision if current else 0):
            raise Conflict("another write came first")
        self.writes += 1
        self.stored[key] = StoredEndpoint(key, EndpointRecord.FromString(record.SerializeToString()), self.writes)
        if held:
            await asyncio.Event().wait()
        return self.writes

    async def newest(self, key: str) -> StoredEndpoint | None:
        return self.stored.get(key)


def state_of(breakers: SharedBreakers) -> State:
    return next((circuit.state for circuit in breakers.standing(endpoint_of(CANDIDATE))), State.CLOSED)


@pytest.mark.parametrize("loses", [False, True], ids=["its write was stored", "its write was lost"])
async def test_a_call_that_leaves_before_it_may_probe_frees_the_slot_for_all(loses: bool) -> None:
    hands, store = Hands(), SlowStore(loses=loses)
    breakers = SharedBreakers(Metrics(), store, router="a", clock=hands.clock)

    async def written_as(wanted: State) -> None:
        async def so() -> bool:
            stored = store.stored.get(KEY)
            return stored is not None and read_circuit(stored.record.circuit, 0, hands.clock).state is wanted

        await until(so)

    await fail(breakers, 3)
    await written_as(State.OPEN)
    hands.seconds += 60
    store.held = True
    leaving = asyncio.create_task(breakers.admit(CANDIDATE))
    await asyncio.sleep(0.01)
    assert state_of(breakers) is State.HALF_OPEN
    with pytest.raises(Refusal, match="one call is trying it"):
        await breakers.admit(CANDIDATE)
    store.held = False
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert state_of(breakers) is State.OPEN
    await written_as(State.OPEN)
    (await breakers.admit(CANDIDATE)).succeeded()
    await written_as(State.CLOSED)
    await breakers.close()
