"""A router on real connections and the fixture for both placements."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.user_code.modules import Modules
from astromesh_router.app import open_calls
from astromesh_router.calls import Calls
from astromesh_router.dialects.custom import CustomProviders
from astromesh_testing.contracts.placement import placement

from .asking import KEY, no_embedder
from .users_classes import SHOUT

__all__ = ["placement"]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def calls(telemetry: Telemetry, custom: CustomProviders) -> AsyncIterator[Calls]:
    async with open_calls(no_embedder, {"LLM_KEY": KEY}, telemetry, custom=custom) as opened:
        yield opened


@pytest.fixture
async def custom(tmp_path: Path) -> AsyncIterator[CustomProviders]:
    """Users' classes: see `users_classes`."""
    (tmp_path / "loud.py").write_text(SHOUT)
    providers = CustomProviders(Modules(tmp_path), {"LLM_KEY": KEY})
    yield providers
    await providers.close()
