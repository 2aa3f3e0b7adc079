"""A session whose time is up is forgotten: at once for its runs, then in its store, and for ever in the log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from astromesh.v1.session_events_pb2 import SessionEvent, SessionExpired
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.conversations import AgentKey
from astromesh_core.events.identity import user_key
from astromesh_memory.expiry import Expiry

from .desks import KEY, Desk, questions, recall, serving

SECOND = 1_000_000_000


@dataclass
class Heard:
    """Where signals go, in this process."""

    signals: list[Signal] = field(default_factory=list[Signal])

    async def send(self, namespace: str, signal: Signal) -> None:
        assert namespace == "default"
        self.signals.append(signal)


async def test_the_owner_of_an_unused_session_is_asked_once_to_forget_it(bus: Bus, tmp_path: Path) -> None:
    desk, heard = Desk(bus), Heard()
    agent, now = await desk.declare(ttl=60), time.time_ns()
    async with serving(bus, tmp_path) as (stub, conversations):
        await desk.turn("old", at=now - 100 * SECOND)
        last = await desk.turn("young", session="two", at=now - 10 * SECOND)
        assert questions(await recall(stub, desk, agent, last)) == []
        assert questions(await recall(stub, desk, agent, last, session="two")) == ["young"]

        expiry = Expiry(conversations, heard, lambda: now)
        assert await expiry.sweep() == 1
        assert await expiry.sweep() == 0
        (signal,) = heard.signals
        assert signal.aggregate_id == desk.session()
        assert signal.expire_session.until_unix_nano == now - 40 * SECOND
        again = Heard()
        await Expiry(conversations, again, lambda: now).sweep()
        assert again.signals[0].id == signal.id

        expired = SessionExpired(agent="desk", until_unix_nano=signal.expire_session.until_unix_nano)
        last = await desk.tell(SessionEvent(expired=expired))
        agent = await desk.declare()
        assert questions(await recall(stub, desk, agent, last)) == []
        await conversations.rebuild(AgentKey("default", "desk"), 10)
        assert questions(await recall(stub, desk, agent, last)) == []
        assert questions(await recall(stub, desk, agent, last, session="two")) == ["young"]


async def test_a_turn_that_is_not_applied_yet_keeps_its_session(bus: Bus, tmp_path: Path) -> None:
    desk, heard = Desk(bus), Heard()
    agent, now = await desk.declare(ttl=60), time.time_ns()
    async with serving(bus, tmp_path) as (stub, conversations):
        await recall(stub, desk, agent, await desk.turn("old", at=now - 100 * SECOND))
        expiry = Expiry(conversations, heard, lambda: now)
        await desk.turn("young", at=now - 45 * SECOND)
        assert await expiry.sweep() == 0
    assert heard.signals == []


async def test_whoever_is_to_be_forgotten_is_found_where_the_turn_is_only_in_the_log_yet(
    bus: Bus, tmp_path: Path
) -> None:
    desk = Desk(bus)
    agent = await desk.declare()
    async with serving(bus, tmp_path) as (stub, conversations):
        await recall(stub, desk, agent, await desk.turn("first", session="one", user="ada"))
        await desk.turn("second", session="two", user="ada")
        found = await conversations.of_user("default", user_key(KEY, "default", "ada"), 10)
    assert {it.session_key for it in found} == {desk.session("one"), desk.session("two")}


async def test_a_turn_after_the_pause_stays_when_what_was_before_it_expires(bus: Bus, tmp_path: Path) -> None:
    desk, now = Desk(bus), time.time_ns()
    agent = await desk.declare(ttl=60)
    async with serving(bus, tmp_path) as (stub, _):
        await desk.turn("old", at=now - 100 * SECOND)
        assert questions(await recall(stub, desk, agent, await desk.turn("new", at=now))) == ["new"]
        expired = SessionExpired(agent="desk", until_unix_nano=now - 40 * SECOND)
        last = await desk.tell(SessionEvent(expired=expired))
        assert questions(await recall(stub, desk, await desk.declare(), last)) == ["new"]
