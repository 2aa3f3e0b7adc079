"""A real nats-server for tests: free port, temporary folder, killed, paused and started again at will."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from astromesh_core.bus.connection import Bus, open_bus
from astromesh_core.bus.credentials import Credentials
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.bus.permissions import MESH


class NatsServer:
    """The embedded server as the product runs it, but that after a crash it waits for the test to restart it."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._paused = False

    @property
    def url(self) -> str:
        """Where clients connect; the same after a restart."""
        return self._server.url

    @property
    def pid(self) -> int:
        """Of the nats-server process."""
        return self._server.pid

    @property
    def credentials_folder(self) -> Path:
        """Holds one credentials file per service."""
        return self._server.credentials_folder

    def credentials(self, user: str) -> Credentials:
        """Of a service, of MESH or of ADMIN."""
        return self._server.credentials(user)

    def bus(self, service: str = MESH, *, name: str = "test") -> AbstractAsyncContextManager[Bus]:
        """A bus as this service."""
        return open_bus(self.url, service=service, credentials=self.credentials(service), name=name)

    async def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._paused = False
        await self._server.wait_ended()

    async def restart(self, *, max_store_bytes: int | None = None) -> None:
        """Starts it again (a running one is stopped first) on the same port and data."""
        await self._server.restart(max_store_bytes=max_store_bytes)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT, where it is paused."""
        if self._paused:
            os.kill(self.pid, signal.SIGCONT)
            self._paused = False


@asynccontextmanager
async def nats_server(folder: Path, *, max_store_bytes: int | None = None) -> AsyncGenerator[NatsServer]:
    """Runs a server with its data under the folder, every stream declared; stopped at the end."""
    async with EmbeddedServer(folder, max_store_bytes=max_store_bytes, restarts=False) as embedded:
        server = NatsServer(embedded)
        try:
            yield server
        finally:
            server.resume()
