"""The object store: named by hash, written once, verified when read."""

import pytest

from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.values_pb2 import Content, StoredValue
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import value_subject
from astromesh_core.bus.values import CHUNK_BYTES, ValueStore
from astromesh_core.errors import NotFound, Unavailable
from astromesh_core.events.contents import text_content
from astromesh_testing.nats import NatsServer
from astromesh_testing.transports import FaultyTransport


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 9 * CHUNK_BYTES + 7])
async def test_a_value_of_any_size_comes_back(bus: Bus, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    value = await bus.values.put(data)
    assert value.size_bytes == size
    assert await bus.values.get(value) == data


async def test_putting_twice_changes_nothing(nats: NatsServer) -> None:
    async with nats.bus("gateway") as bus:
        assert await bus.values.put(b"same") == await bus.values.put(b"same")
        assert (await bus.js.stream_info("VALUES")).state.messages == 1


async def test_a_value_that_is_not_there_is_not_found(bus: Bus) -> None:
    with pytest.raises(NotFound):
        await bus.values.get(StoredValue(sha256=b"\1" * 32, size_bytes=3))


async def test_other_bytes_than_the_name_says_are_refused(bus: Bus) -> None:
    await bus.nc.ask(value_subject((b"\2" * 32).hex(), 0), b"forged")
    with pytest.raises(NotFound, match="other bytes"):
        await bus.values.get(StoredValue(sha256=b"\2" * 32, size_bytes=6))


async def test_a_value_is_put_again_until_it_is_settled(bus: Bus) -> None:
    store = ValueStore(FaultyTransport(bus.nc, FaultyTransport.LOST, FaultyTransport.UNHEARD, to="values."))
    assert await bus.values.get(await store.put(b"after all")) == b"after all"
    deaf = ValueStore(FaultyTransport(bus.nc, *[FaultyTransport.LOST] * 5, to="values."))
    with pytest.raises(Unavailable):
        await deaf.put(b"never")


async def test_contents_of_a_message_are_fetched_in_place(bus: Bus) -> None:
    stored = Content(stored=await bus.values.put(text_content("a long answer").SerializeToString()))
    event = RunEvent()
    event.completed.answer.CopyFrom(stored)
    event.completed.sources.add().text.CopyFrom(text_content("short"))
    await bus.values.resolve_all(event)
    assert event.completed.answer.text == "a long answer"
    assert event.completed.sources[0].text.text == "short"
    assert (await bus.values.resolve(stored)).text == "a long answer"
