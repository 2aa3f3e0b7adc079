"""Resources and their status in KV, against a real server."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from astromesh.v1.control_pb2 import MANAGED_BY_API, MANAGED_BY_FILE, ResourceRecord, ResourceStatus
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.records import Change
from astromesh_core.errors import Conflict, InvalidInput, NotFound
from astromesh_testing.nats import NatsServer


def agent(name: str, spec: str = "{}", **fields: object) -> ResourceRecord:
    ref = ResourceRef(kind="Agent", namespace="default", name=name)
    return ResourceRecord(**{"ref": ref, "managed_by": MANAGED_BY_FILE, "spec_json": spec, **fields})  # pyright: ignore[reportArgumentType] - a test's shorthand


async def test_a_generation_counts_changes_of_the_spec_alone(bus: Bus) -> None:
    first = await bus.resources.put(agent("docs", '{"a":1}'))
    same = await bus.resources.put(agent("docs", '{"a":1}'))
    moved = await bus.resources.put(agent("docs", '{"a":1}', origin="b.yaml:1"))
    changed = await bus.resources.put(agent("docs", '{"a":2}'))
    assert [record.generation for record in (first, same, moved, changed)] == [1, 1, 1, 2]
    assert first.created_unix_nano == changed.created_unix_nano < moved.changed_unix_nano < changed.changed_unix_nano
    assert await bus.resources.get("Agent", "default", "docs") == changed


async def test_a_write_expects_the_generation_that_was_read(bus: Bus) -> None:
    await bus.resources.put(agent("docs", '{"a":1}'), expected_generation=0)
    with pytest.raises(Conflict, match=r"^Agent default/docs is at generation 1"):
        await bus.resources.put(agent("docs", '{"a":2}'), expected_generation=0)
    await bus.resources.put(agent("docs", '{"a":2}'), expected_generation=1)
    with pytest.raises(Conflict, match="generation 2"):
        await bus.resources.delete("Agent", "default", "docs", managed_by=MANAGED_BY_FILE, expected_generation=1)


async def test_another_side_is_refused_and_told_who_manages_it(bus: Bus) -> None:
    await bus.resources.put(agent("docs"))
    with pytest.raises(Conflict, match=r"^Agent default/docs is managed by file"):
        await bus.resources.put(agent("docs", '{"a":2}', managed_by=MANAGED_BY_API))
    with pytest.raises(Conflict, match=r"^Agent default/docs is managed by file"):
        await bus.resources.delete("Agent", "default", "docs", managed_by=MANAGED_BY_API)


async def test_of_writers_that_race_each_counts_once(bus: Bus) -> None:
    await asyncio.gather(*(bus.resources.put(agent("docs", f'{{"a":{n}}}')) for n in range(4)))
    record = await bus.resources.get("Agent", "default", "docs")
    assert record is not None
    assert record.generation == 4


async def test_a_deleted_resource_is_gone_and_may_come_again(bus: Bus) -> None:
    await bus.resources.put(agent("docs"))
    await bus.resources.delete("Agent", "default", "docs", managed_by=MANAGED_BY_FILE)
    assert await bus.resources.get("Agent", "default", "docs") is None
    assert await bus.resources.list() == []
    with pytest.raises(NotFound):
        await bus.resources.delete("Agent", "default", "docs", managed_by=MANAGED_BY_FILE)
    assert (await bus.resources.put(agent("docs", managed_by=MANAGED_BY_API))).generation == 1


async def test_lists_are_by_kind_and_namespace_in_order_of_name(bus: Bus) -> None:
    for name in ("b", "a", "a.long-name"):
        await bus.resources.put(agent(name))
    await bus.resources.put(agent("x", ref=ResourceRef(kind="Provider", namespace="other", name="x")))
    assert [record.ref.name for record in await bus.resources.list("Agent")] == ["a", "a.long-name", "b"]
    assert [record.ref.name for record in await bus.resources.list(None, "other")] == ["x"]
    assert len(await bus.resources.list()) == 4


async def test_a_list_is_whole_however_long(bus: Bus) -> None:
    await asyncio.gather(*(bus.resources.put(agent(f"a{n}")) for n in range(1200)))
    assert len(await bus.resources.list("Agent", "default")) == 1200


async def test_every_version_stays_readable_by_its_hash(bus: Bus, nats: NatsServer) -> None:
    old = await bus.resources.put(agent("docs", '{"a":1}'))
    await bus.resources.put(agent("docs", '{"a":2}'))
    await bus.resources.delete("Agent", "default", "docs", managed_by=MANAGED_BY_FILE)
    assert await bus.resources.by_hash(old.ref) == '{"a":1}'
    await nats.kill()
    assert await bus.resources.by_hash(old.ref) == '{"a":1}'
    await nats.restart()
    await bus.nc.online()
    with pytest.raises(NotFound):
        await bus.resources.by_hash(ResourceRef(sha256=b"x" * 32))


@pytest.mark.parametrize("name", ["", "a b", "a..b", ".a", "a.", "a*", ">", "é"])
async def test_a_name_that_no_key_can_hold_is_refused(bus: Bus, name: str) -> None:
    with pytest.raises(InvalidInput):
        await bus.resources.put(agent(name))


async def next_of(changes: AsyncGenerator[Change[ResourceRecord], None]) -> tuple[str, str]:
    change = await asyncio.wait_for(anext(changes), 5)
    return change.name, change.record.spec_json if change.record else "gone"


async def test_a_watch_gives_what_stands_then_every_change_and_every_end(bus: Bus) -> None:
    await bus.resources.put(agent("a", '{"v":1}'))
    await bus.resources.put(agent("a", '{"v":2}'))
    await bus.resources.put(agent("b.c"))
    synced = asyncio.Event()
    async with contextlib.aclosing(bus.resources.watch(synced)) as changes:
        assert [await next_of(changes), await next_of(changes)] == [("a", '{"v":2}'), ("b.c", "{}")]
        await bus.resources.put(agent("a", '{"v":3}'))
        assert await next_of(changes) == ("a", '{"v":3}')
        assert synced.is_set()
        await bus.resources.delete("Agent", "default", "b.c", managed_by=MANAGED_BY_FILE)
        assert await next_of(changes) == ("b.c", "gone")


async def test_a_watch_of_nothing_says_that_it_has_seen_it_all(bus: Bus) -> None:
    synced = asyncio.Event()
    async with contextlib.aclosing(bus.resources.watch(synced)) as changes:
        first = asyncio.create_task(anext(changes))
        await asyncio.wait_for(synced.wait(), 2)
        await bus.resources.put(agent("a"))
        assert (await first).name == "a"


async def test_a_watch_survives_a_restart_and_tells_what_changed_meanwhile(bus: Bus, nats: NatsServer) -> None:
    await bus.resources.put(agent("a"))
    await bus.resources.put(agent("b"))
    async with contextlib.aclosing(bus.resources.watch()) as changes:
        assert [(await next_of(changes))[0], (await next_of(changes))[0]] == ["a", "b"]
        await nats.kill()
        await nats.restart()
        async with nats.bus(name="another") as other:
            await other.resources.put(agent("c"))
            await other.resources.delete("Agent", "default", "a", managed_by=MANAGED_BY_FILE)
        started = asyncio.get_running_loop().time()
        assert [await next_of(changes), await next_of(changes)] == [("c", "{}"), ("a", "gone")]
        assert asyncio.get_running_loop().time() - started < 2


async def test_watches_of_one_connection_share_what_they_read_and_each_gets_everything(
    bus: Bus, nats: NatsServer
) -> None:
    await bus.resources.put(agent("a"))
    without = bus.nc.subscriptions
    async with contextlib.aclosing(bus.resources.watch()) as early, nats.bus(name="another") as other:
        assert (await next_of(early))[0] == "a"
        await other.resources.put(agent("b"))
        await other.resources.delete("Agent", "default", "a", managed_by=MANAGED_BY_FILE)
        synced = asyncio.Event()
        async with contextlib.aclosing(bus.resources.watch(synced)) as late:
            assert await next_of(late) == ("b", "{}"), "what was written before is seen at once, what is gone is not"
            await other.resources.put(agent("c"))
            assert await next_of(late) == ("c", "{}")
            assert synced.is_set()
            assert bus.nc.subscriptions == without + 1
        assert [await next_of(early) for _ in range(3)] == [("b", "{}"), ("a", "gone"), ("c", "{}")]
    assert bus.nc.subscriptions == without


async def test_a_record_that_nobody_can_read_is_left_out_of_a_watch(bus: Bus) -> None:
    await bus.nc.ask("$KV.resources.Agent.default.broken", b"\xff\xff\xff")
    await bus.resources.put(agent("whole"))
    async with contextlib.aclosing(bus.resources.watch()) as changes:
        assert (await next_of(changes))[0] == "whole"


async def test_status_is_put_listed_watched_and_forgotten(bus: Bus) -> None:
    ref = ResourceRef(kind="Agent", namespace="default", name="docs")
    await bus.status.put(ResourceStatus(ref=ref, ready=True))
    assert [status.ready for status in await bus.status.list()] == [True]
    async with contextlib.aclosing(bus.status.watch()) as changes:
        assert (await anext(changes)).record == ResourceStatus(ref=ref, ready=True)
        await bus.status.delete("Agent", "default", "docs")
        assert (await anext(changes)).record is None
    assert await bus.status.get("Agent", "default", "docs") is None
