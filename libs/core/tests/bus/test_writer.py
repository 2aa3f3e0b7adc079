"""AggregateWriter: order, coalescing, large values, limits, fencing, and a store that is full for a while."""

import asyncio
from pathlib import Path

import pytest

from astromesh.v1.session_events_pb2 import SessionCleared, SessionEvent
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.offload import COMMIT_BYTES
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.bus.streams import RUNS
from astromesh_core.bus.subjects import Aggregate, session_aggregate
from astromesh_core.bus.writer import MAX_BYTES, MAX_EVENTS, AggregateWriter, Fenced, RunTooLarge
from astromesh_core.errors import Denied
from astromesh_core.events.chain import GENESIS, ChainHead, verify_chain
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.identity import random_session
from astromesh_testing.commits import begun, commit_of, completed, new_run, requested
from astromesh_testing.nats import NatsServer, nats_server
from astromesh_testing.transports import FaultyTransport


def writer_of(
    bus: Bus, aggregate: Aggregate, position: Position = Position.START, head: ChainHead = GENESIS
) -> AggregateWriter:
    return AggregateWriter(bus.log, bus.values, aggregate, position, head, "runtime/test", lambda: 42)


async def commits(bus: Bus, aggregate: Aggregate) -> int:
    return len(await StreamReader(bus.nc, RUNS).batch(aggregate.filter, Position.START))


async def test_events_are_stored_in_order_in_one_chain(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    assert [writer.record(body) for body in (requested(), begun("1"), begun("2"))] == [0, 1, 2]
    await writer.stored(2)
    stored = await bus.log.read(run)
    assert verify_chain(event.data for event in stored.events).events == 3
    assert stored.position == writer.position
    assert stored.events[-1].head() == writer.head
    assert {event.envelope.producer for event in stored.events} == {"runtime/test"}
    assert {event.envelope.time_unix_nano for event in stored.events} == {42}
    assert len({event.envelope.event_id for event in stored.events}) == 3


async def test_what_admits_a_run_is_a_commit_of_its_own(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    writer.record(requested())
    writer.record(begun())
    await writer.flush()
    messages = await StreamReader(bus.nc, RUNS).batch(run.filter, Position.START)
    assert [message.subject for message in messages] == [run.requested, run.log]


async def test_events_gather_while_an_append_is_in_flight(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    writer.record(requested())
    first = asyncio.create_task(writer.flush())
    await asyncio.sleep(0)
    for _ in range(200):
        writer.record(begun())
    await writer.flush()
    await first
    assert await commits(bus, run) == 2
    assert len((await bus.log.read(run)).events) == 201


async def test_an_event_recorded_just_as_an_append_ends_waits_for_company_too(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    await writer.stored(writer.record(requested()))
    writer.record(begun())
    # Whatever that might set off has its turn.
    for _ in range(5):
        await asyncio.sleep(0)
    await writer.stored(writer.record(completed()))
    assert await commits(bus, run) == 2


async def test_an_event_that_nobody_waits_for_is_stored_soon(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    arrived = asyncio.Event()
    writer.on_stored = lambda events, position: arrived.set()
    writer.record(requested())
    async with asyncio.timeout(1):
        await arrived.wait()
    assert len((await bus.log.read(run)).events) == 1


async def test_the_callback_hears_events_before_who_waits(bus: Bus) -> None:
    heard: list[int] = []
    writer = writer_of(bus, new_run())
    writer.on_stored = lambda events, position: heard.extend(event.index for event in events)
    writer.record(requested())
    await writer.stored(writer.record(begun()))
    assert heard == [0, 1]


async def test_a_question_of_a_megabyte_goes_to_the_object_store(bus: Bus) -> None:
    run, question = new_run(), "long " * 200_000
    writer = writer_of(bus, run)
    body = requested(question)
    writer.record(body)
    await writer.flush()
    [message] = await StreamReader(bus.nc, RUNS).batch(run.filter, Position.START)
    assert len(message.data) < COMMIT_BYTES
    [event] = (await bus.log.read(run)).events
    assert event.envelope.run.requested.query.stored.size_bytes > 1_000_000
    await bus.values.resolve_all(event.envelope)
    assert plain(event.envelope.run.requested.query) == question
    assert body.requested.query.text == question, "the caller's message is untouched"


async def test_only_the_largest_contents_move_and_no_more_than_needed(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    body = completed("a" * 250_000)
    for letter in "bcd":
        body.completed.sources.add().text.CopyFrom(text_content(letter * 20_000))
    writer.record(requested())
    writer.record(body)
    await writer.flush()
    event = (await bus.log.read(run)).events[-1].envelope.run.completed
    assert event.answer.HasField("stored")
    assert not any(source.text.HasField("stored") for source in event.sources)


async def test_many_events_are_cut_into_commits(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    writer.record(requested())
    for number in range(20):
        body = begun()
        body.model_call_begun.role = str(number) * 50_000
        writer.record(body)
    await writer.flush()
    messages = await StreamReader(bus.nc, RUNS).batch(run.filter, Position.START)
    assert all(len(message.data) <= COMMIT_BYTES for message in messages)
    assert verify_chain(event.data for event in (await bus.log.read(run)).events).events == 21


async def test_a_writer_that_lost_the_run_is_fenced(bus: Bus) -> None:
    run = new_run()
    old = writer_of(bus, run)
    await old.stored(old.record(requested()))
    commit, _ = commit_of(run, [begun()], old.head, producer="successor")
    await bus.log.append(run.log, run, commit, old.position)
    first, second = old.record(begun()), old.record(begun())
    for outcome in await asyncio.gather(old.stored(first), old.stored(second), return_exceptions=True):
        assert isinstance(outcome, Fenced)
    with pytest.raises(Fenced):
        old.record(completed())
    await old.stored(0)
    await old.close()
    assert [event.envelope.producer for event in (await bus.log.read(run)).events] == ["runtime/test", "successor"]


async def test_one_of_two_writers_wins_every_race(bus: Bus) -> None:
    run = new_run()
    admitted = writer_of(bus, run)
    await admitted.stored(admitted.record(requested()))
    rivals = [writer_of(bus, run, admitted.position, admitted.head) for _ in range(8)]
    outcomes = await asyncio.gather(*(rival.stored(rival.record(begun())) for rival in rivals), return_exceptions=True)
    assert outcomes.count(None) == 1
    assert len((await bus.log.read(run)).events) == 2


async def test_a_run_ends_at_its_limits_and_can_still_be_ended(bus: Bus) -> None:
    run = new_run()
    admitted = writer_of(bus, run)
    await admitted.stored(admitted.record(requested()))
    crowded = writer_of(bus, run, admitted.position, ChainHead(MAX_EVENTS - 1, admitted.head.sha256))
    with pytest.raises(RunTooLarge, match="events"):
        crowded.record(begun())
    heavy = writer_of(bus, run, admitted.position, admitted.head)
    heavy.bytes_recorded = MAX_BYTES
    with pytest.raises(RunTooLarge, match="bytes"):
        heavy.record(begun())
    await heavy.stored(heavy.record(completed()))
    assert len((await bus.log.read(run)).events) == 2


async def test_an_event_that_no_commit_can_hold_is_refused_at_once(bus: Bus) -> None:
    writer = writer_of(bus, new_run())
    body = begun("x" * 2_000_000)
    with pytest.raises(RunTooLarge, match="cannot be moved"):
        writer.record(body)
    await writer.stored(writer.record(requested()))


async def test_a_session_is_written_alike(bus: Bus) -> None:
    session = session_aggregate("default", random_session())
    writer = writer_of(bus, session)
    index = writer.record(SessionEvent(cleared=SessionCleared(agent="echo")), signal_id="s1", traceparent="00-1")
    await writer.stored(index)
    [event] = (await bus.log.read(session)).events
    assert event.envelope.session.cleared.agent == "echo"
    assert (event.envelope.signal_id, event.envelope.traceparent) == ("s1", "00-1")


async def test_what_ends_the_writer_reaches_who_waits(nats: NatsServer) -> None:
    async with nats.bus("gateway") as bus:
        run = new_run()
        writer = writer_of(bus, run)
        writer.record(requested())
        await writer.flush()
        with pytest.raises(Denied):
            await writer.stored(writer.record(begun()))


async def test_closing_stores_the_rest(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    writer.record(requested())
    await writer.close()
    await writer.close()
    assert len((await bus.log.read(run)).events) == 1
    with pytest.raises(Fenced):
        writer.record(begun())


async def test_abandoning_stores_nothing_more(bus: Bus) -> None:
    run = new_run()
    writer = writer_of(bus, run)
    waiting = asyncio.create_task(writer.stored(writer.record(requested())))
    writer.abandon()
    with pytest.raises(Fenced):
        await waiting
    assert await bus.log.tail(run) is None


async def test_a_writer_waits_while_the_store_is_full(tmp_path: Path) -> None:
    async with nats_server(tmp_path, max_store_bytes=1 << 20) as server, server.bus() as bus:
        run = new_run()
        writer = writer_of(bus, run)
        for _ in range(12):
            body = begun()
            body.model_call_begun.role = "x" * 200_000
            writer.record(body)
        waiting = asyncio.create_task(writer.flush())
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await server.restart(max_store_bytes=64 << 20)
        async with asyncio.timeout(10):
            await waiting
        assert verify_chain(event.data for event in (await bus.log.read(run)).events).events == 12


async def test_an_append_that_is_not_settled_holds_the_events_together(bus: Bus) -> None:
    run = new_run()
    log = EventLog(bus.nc, FaultyTransport(bus.nc, FaultyTransport.UNHEARD, FaultyTransport.LOST))
    writer = AggregateWriter(log, bus.values, run, Position.START, GENESIS, "runtime/test", lambda: 42)
    writer.record(requested())
    await writer.stored(writer.record(begun()))
    assert verify_chain(event.data for event in (await bus.log.read(run)).events).events == 2
