"""Publishes the folder whenever it changes, and again when what other sides own changed while an edit is refused."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Final

from astromesh_core.errors import TemporaryError
from astromesh_core.readiness import Health
from astromesh_core.resources.parsing import Loaded
from astromesh_core.resources.policies import POLICY
from astromesh_core.telemetry.logs import logger
from astromesh_operator.controller import Controller
from astromesh_operator.folder import RESCAN_SECONDS, versions
from astromesh_operator.publishing import Publisher

_RETRY_SECONDS: Final = 0.5

_log = logger(__name__)


class FolderSync:
    """Keeps KV `resources` as the folder says. `run` it once."""

    def __init__(
        self, folder: Path, publisher: Publisher, controller: Controller, rescan_seconds: float = RESCAN_SECONDS
    ) -> None:
        self._folder = folder
        self._publisher = publisher
        self._controller = controller
        self._rescan_seconds = rescan_seconds
        self._newest: Loaded | None = None
        self._refusing = False
        self._due = asyncio.Event()
        self._failure = "the config folder has not been read yet"
        controller.on_foreign_change = self._reconsider

    async def run(self) -> None:
        """Reads, publishes and watches until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            while True:
                await self._due.wait()
                self._due.clear()
                await self._publish()

    async def health(self) -> Health:
        """Green once the folder has been published; red while KV cannot be written."""
        return Health(not self._failure, self._failure)

    async def _read(self) -> None:
        async with aclosing(versions(self._folder, self._rescan_seconds)) as found:
            async for loaded in found:
                self._newest = loaded
                self._due.set()

    async def _publish(self) -> None:
        assert self._newest is not None
        # A change that comes while this plan is made may mend what it refuses.
        self._refusing = True
        try:
            plan = await self._publisher.plan(self._newest)
            self._refusing = bool(plan.refused)
            self._controller.decided({resource.key: resource for resource in plan.put}, plan.refused)
            await self._publisher.apply(plan)
        except TemporaryError as error:
            self._failure = f"the config folder is not published: {error.message}"
            _log.warning("config folder not published, trying again", reason=error.message)
            await asyncio.sleep(_RETRY_SECONDS)
            self._due.set()
            return
        self._failure = ""

    def _reconsider(self, kind: str) -> None:
        if self._newest is not None and (self._refusing or kind == POLICY):
            self._due.set()
