"""kill -9 of memory while it applies: nothing is lost, nothing is told twice, and nothing forgotten comes back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.permissions import MESH
from astromesh_core.conversations import FIRST, AgentKey, Place
from astromesh_memory.conversations import Conversations
from astromesh_testing.nats import NatsServer

from .desks import Desk, recall, serving

PROCESS = Path(__file__).with_name("crashing_memory.py")
DESK = AgentKey("default", "desk")
CRASHES = (("before", 2), ("after", 1), ("after", 3))


async def killed(nats: NatsServer, folder: Path, backend: str, point: str, count: int) -> None:
    """Runs memory until it kills itself."""
    credentials = nats.credentials_folder / f"{MESH}.json"
    arguments = [nats.url, credentials, folder, backend, point, str(count)]
    process = await asyncio.create_subprocess_exec(sys.executable, PROCESS, *map(str, arguments))
    try:
        async with asyncio.timeout(30):
            assert await process.wait() < 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(conversations: Conversations) -> list[tuple[str, str, Place]]:
    """Every turn that is kept, by session."""
    found = list[tuple[str, str, Place]]()
    for session in await conversations.sessions(DESK, None, 100, 10):
        turns = await conversations.page(DESK, session.session_key, FIRST, 1000, 10)
        assert session.turns == len(turns)
        found += [(session.session_key, turn.run_id, turn.place) for turn in turns]
    return sorted(found)


@pytest.mark.serial
@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", ["sqlite", "redis", "postgres"])
async def test_memory_outlives_its_kills(
    bus: Bus,
    nats: NatsServer,
    tmp_path: Path,
    backend: str,
    redis_url: str,
    postgres: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = {"redis": redis_url, "postgres": postgres}.get(backend, "")
    monkeypatch.setenv("TEST_URL", url)
    desk = Desk(bus)
    agent = await desk.declare(backend=backend, **({"connection": {"url": "${TEST_URL}"}} if url else {}))
    last = await desk.turn("first")
    for number in range(60):
        last = await desk.turn(f"turn {number}", session=f"s{number % 3}", user="ada" if number % 5 == 0 else "")
        if number % 17 == 16:
            last = await desk.clear(f"s{number % 3}")
    for point, count in CRASHES:
        await killed(nats, tmp_path / "crashed", backend, point, count)
    async with serving(bus, tmp_path / "crashed") as (stub, conversations):
        await recall(stub, desk, agent, last)
        after_kills = await told(conversations)
        await conversations.rebuild(DESK, 20)
        assert await told(conversations) == after_kills
    assert len(after_kills) > 20
    assert len({run for _, run, _ in after_kills}) == len(after_kills)
