"""The pytest plugin of the repository: fixtures that give a test a real server and a bus on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from astromesh_core.bus.connection import Bus
from astromesh_testing.nats import NatsServer, nats_server


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of the test's own, with every stream declared and empty. May be killed, paused and restarted."""
    async with nats_server(tmp_path) as server:
        yield server


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    """A bus on the test's server, with every service's permissions together."""
    async with nats.bus() as opened:
        yield opened
