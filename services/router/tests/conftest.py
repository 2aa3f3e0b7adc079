"""A router on real connections and the fixture for both placements."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.app import open_fallback
from astromesh_router.fallback import Fallback
from astromesh_testing.contracts.placement import placement

from .asking import KEY, no_embedder

__all__ = ["placement"]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def fallback(telemetry: Telemetry) -> AsyncIterator[Fallback]:
    async with open_fallback(no_embedder, {"LLM_KEY": KEY}, telemetry) as opened:
        yield opened
