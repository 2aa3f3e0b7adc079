"""Signals and timers against a real server."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from astromesh.v1.signal_pb2 import CancelSignal, Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.bus.streams import SIGNALS
from astromesh_core.bus.subjects import signal_filter
from astromesh_core.errors import InvalidInput
from astromesh_testing.nats import NatsServer

RUN = "07-" + "a" * 26


async def arrived(bus: Bus) -> list[Signal]:
    stored = await StreamReader(bus.nc, SIGNALS).batch(signal_filter(7), Position.START)
    return [Signal.FromString(message.data) for message in stored]


async def until_arrived(bus: Bus, count: int, seconds: float = 3.0) -> list[Signal]:
    deadline = time.monotonic() + seconds
    while len(found := await arrived(bus)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} signals came"
        await asyncio.sleep(0.02)
    return found


async def test_a_signal_sent_twice_is_stored_once(bus: Bus) -> None:
    for _ in range(2):
        await bus.signals.send("default", Signal(id="s1", aggregate_id=RUN, cancel=CancelSignal(reason="user")))
    await bus.signals.send("default", Signal(id="s2", aggregate_id=RUN, cancel=CancelSignal()))
    found = await arrived(bus)
    assert [signal.id for signal in found] == ["s1", "s2"]
    assert found[0].namespace == "default"


async def test_a_signal_to_nobody_is_refused(bus: Bus) -> None:
    with pytest.raises(InvalidInput):
        await bus.signals.send("default", Signal(id="s1", aggregate_id="no such thing"))


async def test_a_timer_fires_at_its_time_as_a_signal_of_the_run(bus: Bus) -> None:
    at = time.time_ns() + 400_000_000
    await bus.signals.schedule("default", RUN, "3.1", at)
    assert await arrived(bus) == []
    (signal,) = await until_arrived(bus, 1)
    assert time.time_ns() >= at
    assert (signal.timer.path, signal.aggregate_id, signal.namespace) == ("3.1", RUN, "default")
    assert signal.id == f"{RUN}:3.1:{at}"


async def test_a_timer_set_again_replaces_the_earlier_one(bus: Bus) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await bus.signals.schedule("default", RUN, "3", soon)
    await bus.signals.schedule("default", RUN, "3", soon + timedelta(seconds=0.4))
    await asyncio.sleep(1.2)
    (signal,) = await arrived(bus)
    assert signal.time_unix_nano > soon.timestamp() * 1e9 + 3e8


async def test_a_time_gone_by_fires_at_once(bus: Bus) -> None:
    await bus.signals.schedule("default", RUN, "1", time.time_ns() - 10**9)
    await until_arrived(bus, 1, 1.0)


async def test_timers_fire_after_a_restart_also_the_ones_that_came_due_meanwhile(bus: Bus, nats: NatsServer) -> None:
    now = time.time_ns()
    await bus.signals.schedule("default", RUN, "1", now + 300_000_000)
    await bus.signals.schedule("default", RUN, "2", now + 1_500_000_000)
    await nats.kill()
    await asyncio.sleep(0.4)
    await nats.restart()
    await bus.nc.online()
    found = await until_arrived(bus, 2, 4.0)
    assert [signal.timer.path for signal in found] == ["1", "2"]


async def test_a_cancelled_timer_never_fires_not_even_after_a_restart(bus: Bus, nats: NatsServer) -> None:
    await bus.signals.schedule("default", RUN, "1", time.time_ns() + 800_000_000)
    await bus.signals.cancel_timer("default", RUN, "1")
    await bus.signals.cancel_timer("default", RUN, "2")
    await nats.kill()
    await nats.restart()
    await bus.nc.online()
    await asyncio.sleep(1.5)
    assert await arrived(bus) == []


async def test_a_signal_is_sent_once_though_the_server_restarts_under_it(bus: Bus, nats: NatsServer) -> None:
    await nats.kill()
    sending = asyncio.create_task(bus.signals.send("default", Signal(id="s1", aggregate_id=RUN, cancel=CancelSignal())))
    await asyncio.sleep(0.3)
    await nats.restart()
    await bus.nc.online()
    await sending
    assert [signal.id for signal in await arrived(bus)] == ["s1"]
