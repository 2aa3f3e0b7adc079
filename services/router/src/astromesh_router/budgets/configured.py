"""The budgets of namespaces and API keys, as the RuntimeConfigs of the mesh declare them now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress

from astromesh_core.bus.resource_store import ResourceChange, ResourceStore
from astromesh_core.errors import Unavailable
from astromesh_core.resources.budgets import ScopedBudget
from astromesh_core.resources.runtime_config import RuntimeConfigSpec

LOADED_SECONDS = 5.0
"""How long a call waits for the budgets after the start."""


class ConfiguredBudgets:
    """What is declared, a moment old."""

    def __init__(self) -> None:
        self._declared: dict[tuple[str, str], Sequence[ScopedBudget]] = {}
        self._loaded = asyncio.Event()
        self._all: tuple[ScopedBudget, ...] = ()

    async def all(self) -> Sequence[ScopedBudget]:
        """Every budget. Waits until they are read; raises Unavailable where that takes long."""
        if not self._loaded.is_set():
            try:
                async with asyncio.timeout(LOADED_SECONDS):
                    await self._loaded.wait()
            except TimeoutError:
                raise Unavailable(
                    "the budgets of the mesh are still being read; wait a moment", retry_after=1.0
                ) from None
        return self._all

    async def follow(self, resources: ResourceStore) -> None:
        """Follows the resources until cancelled."""
        async with aclosing(resources.watch(self._loaded)) as changes:
            async for change in changes:
                if change.kind == "RuntimeConfig":
                    self.take(change)

    def take(self, change: ResourceChange) -> None:
        """A RuntimeConfig is new, changed or gone."""
        key = (change.namespace, change.name)
        self._declared.pop(key, None)
        if change.record is not None:
            self._declared[key] = RuntimeConfigSpec.model_validate_json(change.record.spec_json).budgets
        self._all = tuple(budget for budgets in self._declared.values() for budget in budgets)


@asynccontextmanager
async def watching(resources: ResourceStore) -> AsyncGenerator[ConfiguredBudgets]:
    """Budgets that follow the stored resources within the block."""
    configured = ConfiguredBudgets()
    task = asyncio.create_task(configured.follow(resources), name="budgets of the mesh")
    try:
        yield configured
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
