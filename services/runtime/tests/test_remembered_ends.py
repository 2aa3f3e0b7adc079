"""Of sessions that rest long a worker remembers nothing; their next run still waits until memory has the one before."""

from __future__ import annotations

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.service import Platform
from astromesh_runtime import dispatch
from astromesh_testing.admission import admit, ended, put_agent
from astromesh_testing.services import FakeServices


async def test_a_session_that_was_forgotten_waits_for_memory_all_the_same(
    bus: Bus, worker: Platform, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "KEPT_SESSION_ENDS", 1)
    await put_agent(bus, memory={"conversational": {"backend": "sqlite"}})
    first = await admit(bus, session="rests")
    await ended(bus, first)
    tail = await bus.log.tail(first)
    assert tail is not None
    for session in ("second", "third", "rests"):
        await ended(bus, await admit(bus, session=session))
    after = Position.decode(services.memory.requests[-1].after_position)
    assert after >= tail.position
    assert after < await bus.log.end()
