"""The readiness of another process: fresh, bounded, told with its reason, and cheap to ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from astromesh_core.readiness import CACHED_FOR, Health, Readiness
from astromesh_core.rpc import health as subject
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.health import BAD_STANDS_SECONDS, PeerHealth
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.remote import RemoteChannel
from astromesh_core.rpc.serving import serve
from astromesh_core.telemetry.telemetry import Telemetry


class Index:
    """A dependency of the other process, whose health the test sets."""

    def __init__(self) -> None:
        self.health = Health(True)
        self.seconds = 0.0

    async def check(self) -> Health:
        await asyncio.sleep(self.seconds)
        return self.health


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
async def address(tmp_path: Path, index: Index) -> AsyncIterator[str]:
    """Where the rag service's process serves."""
    readiness = Readiness()
    readiness.register("index", index.check)
    where = f"unix:{tmp_path}/rag.sock"
    async with serve([], where, MeshGate("t"), Telemetry(), readiness=readiness, drain_seconds=0):
        yield where


async def once(address: str) -> Health:
    channel = RemoteChannel(address, "")
    try:
        return await PeerHealth("rag", channel)()
    finally:
        await channel.close()


async def test_a_process_that_is_ready_is_green(address: str) -> None:
    assert (await once(address)).ok


async def test_a_process_that_is_not_ready_says_why(address: str, index: Index) -> None:
    index.health = Health(False, "the index of docs is being built – später")
    await asyncio.sleep(CACHED_FOR)

    told = await once(address)

    assert told == Health(False, "rag answers and is not ready: index: the index of docs is being built – später")


async def test_a_process_that_is_away_is_named(tmp_path: Path) -> None:
    told = await once(f"unix:{tmp_path}/rag.sock")

    assert not told.ok
    assert told.reason.startswith("rag does not answer")


async def test_a_process_that_hangs_is_red_within_its_time(
    address: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "ASK_SECONDS", 0.2)
    index.seconds = 60.0
    await asyncio.sleep(CACHED_FOR)

    async with asyncio.timeout(3):
        assert await once(address) == Health(False, "rag did not answer within 0.2 s")


async def test_probes_of_any_number_ask_the_other_process_once(address: str) -> None:
    now, channel = 10.0, RemoteChannel(address, "")
    check = PeerHealth("rag", channel, clock=lambda: now)
    first = await asyncio.gather(*(check() for _ in range(50)))
    # Nobody could ask any more: what is answered now was known.
    await channel.close()
    now += CACHED_FOR - 0.01
    again = await check()

    assert all(told is first[0] for told in (*first, again))


async def test_bad_news_stand_for_a_moment_only(tmp_path: Path) -> None:
    now, where = 10.0, f"unix:{tmp_path}/rag.sock"
    channel = RemoteChannel(where, "")
    check = PeerHealth("rag", channel, clock=lambda: now)
    bad = await check()
    now += BAD_STANDS_SECONDS / 2
    assert await check() is bad
    async with serve([], where, MeshGate("t"), Telemetry(), drain_seconds=0), asyncio.timeout(5):
        while not (await check()).ok:
            now += BAD_STANDS_SECONDS
            await asyncio.sleep(0.02)
    await channel.close()


async def test_only_services_of_other_processes_are_asked(address: str) -> None:
    connections = Connections(InProcessServer(Telemetry()), ("tools",), {"tools": "unix:/nowhere", "rag": address}, "")
    try:
        assert connections.elsewhere == ("rag",)
        assert await connections.health("tools")() == Health(True, "in this process")
        assert await connections.health("rag")() == Health(True, "ready, in another process")
    finally:
        await connections.close()
