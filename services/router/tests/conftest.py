"""A router on real connections and the fixture for both placements."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.app import open_calls
from astromesh_router.calls import Calls
from astromesh_testing.contracts.placement import placement

from .asking import KEY, no_embedder

__all__ = ["placement"]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def calls(telemetry: Telemetry) -> AsyncIterator[Calls]:
    async with open_calls(no_embedder, {"LLM_KEY": KEY}, telemetry) as opened:
        yield opened
