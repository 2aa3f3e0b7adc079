"""A process's own metrics over HTTP, for a scraper that asks each process. Served by `prometheus_client`, in threads of
its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from astromesh_core.errors import Unavailable
from astromesh_core.telemetry.metrics import Metrics


@asynccontextmanager
async def serving_metrics(metrics: Metrics, host: str, port: int) -> AsyncGenerator[None]:
    """Answers `GET /metrics` at this address within the block, to everybody who reaches it (ADR 0008).

    Raises Unavailable where the address is taken or not of this machine.
    """
    try:
        # In a thread, because it looks the host's name up.
        server, thread = await asyncio.to_thread(start_http_server, port, host, metrics.registry)
    except OSError as error:
        raise Unavailable(
            f"ASTROMESH_METRICS_PORT: metrics cannot be served at {host}:{port}: {error.strerror or error}"
        ) from error
    try:
        yield
    finally:
        await asyncio.to_thread(_stop, server, thread)


def _stop(server: WSGIServer, thread: Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()
