"""Serving HTTP inside a loop that others use too: uvicorn without its own signals, logs and lifespan."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from fastapi import FastAPI

from astromesh_core.errors import Unavailable
from astromesh_gateway.bodies import MAX_QUESTION_BYTES

BACKLOG = 4096
KEEP_ALIVE_SECONDS = 75
_TICK_SECONDS = 1.0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and says so."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Renews what every reply says (the date) each second, until it is told to leave. Uvicorn's own loop looks ten
        times a second."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self.leaving.wait()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leaves signals to whoever owns the process."""
        yield


@asynccontextmanager
async def serving(app: FastAPI, host: str, port: int, drain_seconds: float) -> AsyncGenerator[int]:
    """Serves the application within the block; yields the port that was bound (0 takes a free one).

    Leaving takes no new connections, lets requests finish for `drain_seconds`, then cuts them off. Raises Unavailable
    where the address is taken or not of this machine.
    """
    bound = _bind(host, port)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="websockets-sansio",
        loop="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(drain_seconds)),
        ws_max_size=MAX_QUESTION_BYTES,
    )
    server = _Server(config)
    serving_task = asyncio.create_task(server.serve(sockets=[bound]), name="http")
    try:
        await server.listening.wait()
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        server.leaving.set()
        await serving_task


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise Unavailable(f"HTTP cannot listen at {host}:{port}: {error.strerror or error}") from error
    bound.setblocking(False)
    return bound
