"""Records of endpoints, against a real server: one writer wins, everyone hears, nothing stays."""

import asyncio

import pytest

from astromesh.v1.endpoint_pb2 import Endpoint, EndpointRecord, PauseRecord
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.errors import Conflict
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until


def pause(provider: str) -> EndpointRecord:
    return EndpointRecord(pause=PauseRecord(endpoint=Endpoint(provider=provider)))


async def test_of_writers_that_race_one_wins(nats: NatsServer) -> None:
    async with nats.bus("router", name="a") as one, nats.bus("router", name="b") as other:
        stores = [one.endpoints, other.endpoints] * 5
        puts = (store.put("circuit.x", pause(str(n)), expected=0, ttl=60) for n, store in enumerate(stores))
        results = await asyncio.gather(*puts, return_exceptions=True)
        (revision,) = [result for result in results if isinstance(result, int)]
        assert all(isinstance(result, Conflict) for result in results if result != revision)
        newest = await stores[1].newest("circuit.x")
        assert newest is not None
        assert newest.revision == revision


async def test_who_comes_later_hears_what_stands_and_then_every_write(nats: NatsServer) -> None:
    heard: list[StoredEndpoint] = []
    caught_up = asyncio.Event()
    async with nats.bus("router", name="a") as one, nats.bus("router", name="b") as other:
        store = one.endpoints
        for provider in ("first", "second"):
            await store.put("pause.x", pause(provider), ttl=60)
        async with other.endpoints.watch(heard.append, caught_up.set):
            async with asyncio.timeout(5):
                await caught_up.wait()
            revision = await store.put("pause.y", pause("third"), ttl=60)

            async def both() -> bool:
                return len(heard) == 2

            await until(both)
    assert [each.record.pause.endpoint.provider for each in heard] == ["second", "third"]
    assert (heard[1].key, heard[1].revision) == ("pause.y", revision)


async def test_a_record_expires_and_its_place_is_free(nats: NatsServer) -> None:
    async with nats.bus("router") as bus:
        store = bus.endpoints
        await store.put("circuit.x", pause("first"), ttl=0.5)

        async def gone() -> bool:
            return await store.newest("circuit.x") is None

        await until(gone)
        await store.put("circuit.x", pause("second"), expected=0, ttl=60)


async def test_no_other_service_reads_them(nats: NatsServer) -> None:
    async with nats.bus("gateway") as bus:
        with pytest.raises(Exception, match="may not publish"):
            await bus.endpoints.newest("circuit.x")
