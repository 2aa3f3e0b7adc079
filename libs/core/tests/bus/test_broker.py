"""The consumer edge against a real server: every trap of FastStream on NATS that the broker closes."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from astromesh.v1.control_pb2 import Condition, DeadLetter, Observation, ResourceStatus
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.broker import Broker, Consumption
from astromesh_core.bus.buckets import Bucket
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.observations import Observations, consume_observations
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.bus.streams import DEAD, OBSERVATIONS, STATUS
from astromesh_core.errors import Conflict, InvalidInput, Unavailable
from astromesh_testing.nats import NatsServer

SUBJECT = "observation.mesh.Agent.default."
HOW = Consumption(OBSERVATIONS, "observation.>", "test", ack_wait=2.0)


class Handler:
    """Remembers what it handled; `does` is what it does first."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.handled: list[str] = []
        self.does: Callable[[str], Any] = lambda _: None

    async def __call__(self, message: Observation) -> None:
        self.begun.append(message.service)
        waiting = self.does(message.service)
        if waiting is not None:
            await waiting
        self.handled.append(message.service)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come about in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def say(bus: Bus, *words: str) -> None:
    for word in words:
        await bus.js.publish(SUBJECT + word, Observation(service=word).SerializeToString())


async def dead(bus: Bus) -> list[DeadLetter]:
    stored = await StreamReader(bus.nc, DEAD).batch("dead.>", Position.START)
    return [DeadLetter.FromString(message.data) for message in stored]


async def test_a_message_is_handled_and_acknowledged(bus: Bus) -> None:
    broker, handler = Broker(bus), Handler()
    broker.consume(HOW, Observation, handler)
    async with broker:
        await say(bus, "a", "b")
        await until(lambda: handler.handled == ["a", "b"])
        await asyncio.sleep(0.1)
        info = await bus.js.consumer_info(OBSERVATIONS, "test")
        assert (info.num_ack_pending, info.num_pending) == (0, 0)
        assert all(check.ok for check in bus.health())
    assert bus.nc.is_connected


async def test_a_publish_names_its_stream_or_is_refused(bus: Bus) -> None:
    async with Broker(bus) as broker:
        with pytest.raises(InvalidInput, match="no stream"):
            await broker.publish(Observation(), SUBJECT + "a", stream="")
        assert await broker.publish(Observation(), SUBJECT + "a", stream=OBSERVATIONS) == Position(1)


async def test_a_publish_to_a_stream_that_does_not_hold_the_subject_fails_loudly(bus: Bus) -> None:
    async with Broker(bus) as broker:
        with pytest.raises(Unavailable):
            await broker.publish(Observation(), SUBJECT + "a", stream="RUNS")


async def test_a_failed_expectation_surfaces(bus: Bus) -> None:
    async with Broker(bus) as broker:
        first = await broker.publish(Observation(), SUBJECT + "a", stream=OBSERVATIONS, expected_last=Position.START)
        with pytest.raises(Conflict):
            await broker.publish(Observation(), SUBJECT + "a", stream=OBSERVATIONS, expected_last=Position.START)
        await broker.publish(Observation(), SUBJECT + "a", stream=OBSERVATIONS, expected_last=first)


async def test_a_publish_repeated_under_its_id_is_stored_once(bus: Bus) -> None:
    async with Broker(bus) as broker:
        places = [
            await broker.publish(Observation(), SUBJECT + "a", stream=OBSERVATIONS, message_id="1") for _ in range(2)
        ]
        assert places[0] == places[1]


async def test_a_durable_deleted_under_its_subscriber_is_noticed_and_made_anew(bus: Bus) -> None:
    broker, handler = Broker(bus), Handler()
    broker.consume(HOW, Observation, handler)
    async with broker:
        await say(bus, "a")
        await until(lambda: handler.handled == ["a"])
        await asyncio.sleep(1.1)
        await bus.js.delete_consumer(OBSERVATIONS, "test")
        await say(bus, "b")
        assert await until(lambda: handler.handled == ["a", "b"]) < 4.0
        assert [(check.name, check.reason) for check in bus.health() if not check.ok] == [
            ("consumer test", "the consumer vanished and was made anew")
        ]


async def test_what_a_stopping_service_was_working_on_goes_to_another_at_once(bus: Bus, nats: NatsServer) -> None:
    first, second = Handler(), Handler()
    first.does = lambda _: asyncio.sleep(30)
    how = Consumption(OBSERVATIONS, "observation.>", "test", ack_wait=30.0)
    broker = Broker(bus, graceful_seconds=0.3)
    broker.consume(how, Observation, first)
    async with broker:
        await say(bus, "a")
        await until(lambda: first.begun == ["a"])
    async with nats.bus(name="other") as other:
        successor = Broker(other)
        successor.consume(how, Observation, second)
        async with successor:
            assert await until(lambda: second.handled == ["a"]) < 2.0


async def test_a_stopping_service_lets_a_short_handler_end(bus: Bus) -> None:
    handler, broker = Handler(), Broker(bus, graceful_seconds=3.0)
    handler.does = lambda _: asyncio.sleep(0.3)
    broker.consume(HOW, Observation, handler)
    async with broker:
        await say(bus, "a")
        await until(lambda: handler.begun == ["a"])
    assert handler.handled == ["a"]
    await asyncio.sleep(0.05)
    assert (await bus.js.consumer_info(OBSERVATIONS, "test")).num_ack_pending == 0


async def test_a_handler_that_works_for_long_keeps_its_message(bus: Bus) -> None:
    handler, broker = Handler(), Broker(bus)
    handler.does = lambda _: asyncio.sleep(2.5)
    broker.consume(Consumption(OBSERVATIONS, "observation.>", "test", workers=2, ack_wait=1.0), Observation, handler)
    async with broker:
        await say(bus, "a")
        await until(lambda: handler.handled == ["a"])
        await asyncio.sleep(1.2)
        assert handler.begun == ["a"]


async def test_a_slow_message_does_not_hold_up_the_others(bus: Bus) -> None:
    handler, broker = Handler(), Broker(bus)
    handler.does = lambda word: asyncio.sleep(2) if word == "slow" else None
    broker.consume(Consumption(OBSERVATIONS, "observation.>", "test", workers=2), Observation, handler)
    async with broker:
        await say(bus, "slow", *(f"quick{number}" for number in range(10)))
        await until(lambda: len(handler.handled) == 10, 1.5)
        assert "slow" not in handler.handled
        await until(lambda: "slow" in handler.handled)


async def test_a_failed_message_comes_again(bus: Bus) -> None:
    handler, broker = Handler(), Broker(bus)

    def fail_once(_: str) -> None:
        if len(handler.begun) == 1:
            raise RuntimeError("the database is away")

    handler.does = fail_once
    broker.consume(HOW, Observation, handler)
    async with broker:
        await say(bus, "a")
        await until(lambda: handler.handled == ["a"])
    assert await dead(bus) == []


async def test_a_poison_message_becomes_a_dead_letter_after_its_deliveries_and_the_queue_goes_on(bus: Bus) -> None:
    handler, broker = Handler(), Broker(bus)

    def fail(word: str) -> None:
        if word == "poison":
            raise ZeroDivisionError("it divides by nothing")

    handler.does = fail
    broker.consume(Consumption(OBSERVATIONS, "observation.>", "test", max_deliveries=3), Observation, handler)
    async with broker:
        await say(bus, "poison", "good")
        await until(lambda: handler.handled == ["good"])
        await until(lambda: handler.begun.count("poison") == 3)
        await asyncio.sleep(0.2)
    (letter,) = await dead(bus)
    assert (letter.error_class, letter.reason) == ("ZeroDivisionError", "it divides by nothing")
    assert (letter.consumer, letter.deliveries, letter.subject) == ("test", 3, SUBJECT + "poison")
    assert Observation.FromString(letter.payload).service == "poison"
    assert (await bus.js.consumer_info(OBSERVATIONS, "test")).num_ack_pending == 0


async def test_what_can_never_be_handled_is_not_tried_again(bus: Bus) -> None:
    handler, broker = Handler(), Broker(bus)

    def refuse(word: str) -> None:
        raise InvalidInput(f"{word} is wrong")

    handler.does = refuse
    broker.consume(HOW, Observation, handler)
    async with broker:
        await bus.js.publish(SUBJECT + "garbage", b"\xff\xff")
        await say(bus, "a")
        await until(lambda: handler.begun == ["a"])
        await asyncio.sleep(0.1)
    letters = await dead(bus)
    assert [(letter.error_class, letter.deliveries) for letter in letters] == [("DecodeError", 1), ("invalid-input", 1)]


async def test_metrics_are_labelled_by_consumer_and_stream_and_never_by_subject(bus: Bus) -> None:
    registry, handler = CollectorRegistry(), Handler()
    broker = Broker(bus, registry=registry)
    broker.consume(HOW, Observation, handler)
    async with broker:
        for number in range(3):
            await broker.publish(Observation(service="x"), f"{SUBJECT}{number}", stream=OBSERVATIONS)
        await until(lambda: len(handler.handled) == 3)
        text = generate_latest(registry).decode()
    assert 'handler="OBSERVATIONS/test"} 3.0' in text
    assert SUBJECT not in text
    assert "destination=" in text


async def test_a_watched_bucket_hands_over_messages_as_they_are_written(bus: Bus) -> None:
    seen: list[tuple[str, str]] = []

    async def handle(key: str, status: ResourceStatus | None) -> None:
        seen.append((key, status.refused_edit if status else "gone"))

    broker = Broker(bus)
    broker.watch(STATUS, ResourceStatus, handle)
    bucket = Bucket(bus.nc, STATUS)
    async with broker:
        await bucket.put("Agent.default.a", ResourceStatus(refused_edit="1").SerializeToString())
        await bucket.put("Agent.default.rubbish", b"1")
        await until(lambda: len(seen) == 1)
        await bucket.delete("Agent.default.a")
        await until(lambda: len(seen) == 2)
    assert seen == [("Agent.default.a", "1"), ("Agent.default.a", "gone")]
    assert [letter.payload for letter in await dead(bus)] == [b"1"]


async def test_it_goes_on_after_a_restart_of_the_server(bus: Bus, nats: NatsServer) -> None:
    broker, handler = Broker(bus), Handler()
    broker.consume(HOW, Observation, handler)
    async with broker:
        await say(bus, "a")
        await until(lambda: handler.handled == ["a"])
        await nats.kill()
        await nats.restart()
        await bus.nc.online()
        await say(bus, "b")
        await until(lambda: handler.handled[-1] == "b")


async def test_the_operator_hears_of_every_resource_the_last_that_was_observed(nats: NatsServer) -> None:
    async with nats.bus("rag") as rag, nats.bus("operator") as operator:
        docs = ResourceRef(kind="RAGPipeline", namespace="default", name="docs")
        tell = Observations(rag).tell
        for documents in (1, 2):
            await tell(docs, [Condition(type="Ready")], {"documents": documents})
        await tell(ResourceRef(kind="RAGPipeline", namespace="default", name="wiki"), [], {})
        heard: list[Observation] = []

        async def handle(observation: Observation) -> None:
            heard.append(observation)

        broker = Broker(operator)
        consume_observations(broker, handle)
        async with broker:
            await until(lambda: len(heard) == 2)
            assert [(one.ref.name, one.service, one.figures_json) for one in heard] == [
                ("docs", "rag", '{"documents":2}'),
                ("wiki", "rag", "{}"),
            ]
            await tell(docs, [], {"documents": 3})
            await until(lambda: len(heard) == 3)
