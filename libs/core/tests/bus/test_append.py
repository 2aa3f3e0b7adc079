"""Appending: every answer that the server may give, and what becomes of the commit."""

import asyncio
import hashlib

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.log import AppendConflict, EventLog, StoreFull
from astromesh_core.bus.positions import Position
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.events.chain import verify_chain
from astromesh_testing.commits import begun, commit_of, new_run, requested
from astromesh_testing.nats import NatsServer, nats_server
from astromesh_testing.transports import FaultyTransport

WRONG_LAST = b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"RUNS","seq":0}'


def error(code: int, err_code: int) -> bytes:
    return b'{"error":{"code":%d,"err_code":%d,"description":"as the test says"}}' % (code, err_code)


async def test_a_commit_is_stored_and_read_back_whole(bus: Bus) -> None:
    run = new_run()
    first, head = commit_of(run, [requested("what is a mesh?")])
    second, _ = commit_of(run, [begun("1"), begun("2")], head)
    position = await bus.log.append(run.requested, run, first, Position.START)
    last = await bus.log.append(run.log, run, second, position)
    stored = await bus.log.read(run)
    assert [event.index for event in stored.events] == [0, 1, 2]
    assert stored.position == last > position
    assert verify_chain(event.data for event in stored.events).ok
    assert await bus.log.end() == last


async def test_the_message_id_is_the_hash_of_the_bytes(bus: Bus) -> None:
    run = new_run()
    transport = FaultyTransport(bus.nc)
    commit, _ = commit_of(run, [requested()])
    await EventLog(bus.nc, transport).append(run.requested, run, commit, Position.START)
    [(_, _, headers)] = transport.asked
    assert f"Nats-Msg-Id: {hashlib.sha256(commit).hexdigest()}\r\n".encode() in headers
    assert f"Nats-Expected-Last-Subject-Sequence-Subject: {run.filter}\r\n".encode() in headers


async def test_the_same_bytes_again_answer_with_where_they_are(bus: Bus) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    position = await bus.log.append(run.requested, run, commit, Position.START)
    assert await bus.log.append(run.requested, run, commit, Position.START) == position
    assert len((await bus.log.read(run)).events) == 1


async def test_another_writers_commit_is_a_conflict(bus: Bus) -> None:
    run = new_run()
    theirs, _ = commit_of(run, [requested()], producer="them")
    ours, _ = commit_of(run, [requested()], producer="us")
    position = await bus.log.append(run.requested, run, theirs, Position.START)
    with pytest.raises(AppendConflict) as refused:
        await bus.log.append(run.requested, run, ours, Position.START)
    assert refused.value.position == position
    assert [event.envelope.producer for event in (await bus.log.read(run)).events] == ["them"]


async def test_an_expectation_ahead_of_the_log_is_a_conflict(bus: Bus) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    with pytest.raises(AppendConflict):
        await bus.log.append(run.requested, run, commit, Position(99))


async def test_only_the_aggregates_own_messages_count_for_the_expectation(bus: Bus) -> None:
    runs = [new_run() for _ in range(3)]
    positions = [Position.START] * 3
    heads = [commit_of(run, [])[1] for run in runs]
    for _ in range(3):
        for place, run in enumerate(runs):
            commit, heads[place] = commit_of(run, [begun()], heads[place])
            positions[place] = await bus.log.append(run.log, run, commit, positions[place])
    for place, run in enumerate(runs):
        stored = await bus.log.read(run)
        assert len(stored.events) == 3
        assert stored.position == positions[place]


async def test_a_conflict_with_our_own_earlier_publish_is_success(bus: Bus) -> None:
    """Beyond the server's memory of message ids, a repeated append meets itself."""
    run = new_run()
    commit, head = commit_of(run, [requested()])
    position = await bus.log.append(run.requested, run, commit, Position.START)
    next_commit, _ = commit_of(run, [begun()], head)
    await bus.log.append(run.log, run, next_commit, position)
    forgetful = EventLog(bus.nc, FaultyTransport(bus.nc, WRONG_LAST))
    assert await forgetful.append(run.requested, run, commit, Position.START) == position


@pytest.mark.parametrize(
    "fault",
    [
        error(400, 10164),
        error(409, 10158),
        error(400, 10163),
        error(503, 10008),
        b"+rubbish",
        FaultyTransport.NO_RESPONDERS,
        FaultyTransport.LOST,
        WRONG_LAST,
    ],
)
async def test_what_is_not_settled_is_published_again_unchanged(bus: Bus, fault: bytes) -> None:
    run = new_run()
    transport = FaultyTransport(bus.nc, fault, fault)
    commit, _ = commit_of(run, [requested()])
    position = await EventLog(bus.nc, transport).append(run.requested, run, commit, Position.START)
    assert position == (await bus.log.read(run)).position
    assert len(transport.asked) == 3
    assert len(set(transport.asked)) == 1, "the same bytes, id and expectation"


async def test_a_publish_whose_answer_was_lost_is_stored_once(bus: Bus) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    log = EventLog(bus.nc, FaultyTransport(bus.nc, FaultyTransport.UNHEARD))
    position = await log.append(run.requested, run, commit, Position.START)
    stored = await bus.log.read(run)
    assert (len(stored.events), stored.position) == (1, position)


async def test_a_publish_that_the_server_refuses_for_good_is_an_error(bus: Bus) -> None:
    run = new_run()
    log = EventLog(bus.nc, FaultyTransport(bus.nc, error(400, 10049)))
    with pytest.raises(InvalidInput):
        await log.append(run.requested, run, commit_of(run, [requested()])[0], Position.START)
    with pytest.raises(InvalidInput, match="limit"):
        await bus.log.append(run.log, run, bytes(9 << 20), Position.START)


async def test_a_paused_server_delays_an_append_and_stores_it_once(bus: Bus, nats: NatsServer) -> None:
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    log = EventLog(bus.nc, attempt_seconds=0.1)
    nats.pause()
    append = asyncio.create_task(log.append(run.requested, run, commit, Position.START))
    await asyncio.sleep(0.5)
    assert not append.done()
    nats.resume()
    position = await append
    stored = await bus.log.read(run, at_least=position)
    assert (len(stored.events), stored.position) == (1, position)


async def test_a_server_killed_under_appends_neither_loses_nor_repeats(bus: Bus, nats: NatsServer) -> None:
    async def write(length: int) -> list[Position]:
        run, position, head = new_run(), Position.START, commit_of(new_run(), [])[1]
        for _ in range(length):
            commit, head = commit_of(run, [begun()], head)
            position = await log.append(run.log, run, commit, position)
        stored = await log.read(run)
        assert verify_chain(event.data for event in stored.events).events == length
        return [stored.position, position]

    log = EventLog(bus.nc, attempt_seconds=0.5)
    writing = asyncio.gather(*(write(60) for _ in range(8)))
    for _ in range(2):
        await asyncio.sleep(0.05)
        await nats.kill()
        assert not bus.health()[0].ok or bus.nc.is_connected
        await nats.restart()
    for read, appended in await writing:
        assert read == appended
    assert bus.health()[0].ok


async def test_a_commit_that_landed_late_is_found_by_its_bytes(bus: Bus, nats: NatsServer) -> None:
    """Cancelled while the server was away, an append may still land; whoever repeats it gets its place."""
    run = new_run()
    commit, _ = commit_of(run, [requested()])
    nats.pause()
    append = asyncio.create_task(bus.log.append(run.requested, run, commit, Position.START))
    await asyncio.sleep(0.05)
    append.cancel()
    nats.resume()
    position = await bus.log.append(run.requested, run, commit, Position.START)
    assert (await bus.log.read(run)).position == position


async def test_a_full_store_refuses_and_loses_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with nats_server(tmp_path_factory.mktemp("full"), max_store_bytes=2 << 20) as server, server.bus() as bus:
        run, head, position = new_run(), commit_of(new_run(), [])[1], Position.START
        stored, commit = 0, b""
        full: StoreFull | None = None
        while full is None:
            commit, next_head = commit_of(run, [requested("x" * 100_000)], head)
            try:
                position = await bus.log.append(run.log, run, commit, position)
                stored, head = stored + 1, next_head
            except StoreFull as error:
                full = error
        assert full.retry_after is not None
        assert [check.name for check in bus.health() if not check.ok] == ["event store"]
        assert 3 < stored < 30
        assert len((await bus.log.read(run)).events) == stored
        await server.restart(max_store_bytes=64 << 20)
        await bus.nc.online()
        await bus.log.append(run.log, run, commit, position)
        assert all(check.ok for check in bus.health())
        assert verify_chain(event.data for event in (await bus.log.read(run)).events).events == stored + 1


async def test_a_read_waits_for_what_an_append_told(bus: Bus) -> None:
    run = new_run()
    first, head = commit_of(run, [requested()])
    second, _ = commit_of(run, [begun()], head)
    position = await bus.log.append(run.requested, run, first, Position.START)
    last = await bus.log.append(run.log, run, second, position)
    # A replica that knows nothing yet: the leader is asked instead.
    lagging = EventLog(bus.nc, FaultyTransport(bus.nc, b"nothing", to="$JS.API.DIRECT.GET"))
    stored = await lagging.read(run, at_least=last)
    assert [event.index for event in stored.events] == [0, 1]
    with pytest.raises(Unavailable):
        await bus.log.read(run, at_least=Position(last.sequence + 5))


async def test_the_tail_tells_what_the_next_append_needs(bus: Bus) -> None:
    run = new_run()
    assert await bus.log.tail(run) is None
    assert (await bus.log.read(run)).events == []
    commit, head = commit_of(run, [requested(), begun()])
    position = await bus.log.append(run.requested, run, commit, Position.START)
    tail = await bus.log.tail(run)
    assert tail is not None
    assert (tail.position, tail.head, tail.last.index) == (position, head, 1)


@pytest.mark.timeout(20)
async def test_a_thousand_events_are_read_in_order(bus: Bus) -> None:
    run, head, position = new_run(), commit_of(new_run(), [])[1], Position.START
    for _ in range(1_000):
        commit, head = commit_of(run, [begun()], head)
        position = await bus.log.append(run.log, run, commit, position)
    stored = await bus.log.read(run)
    assert verify_chain(event.data for event in stored.events).events == 1_000
