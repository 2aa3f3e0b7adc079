"""A process's own metrics over HTTP: there within the block, gone after it, refused in words."""

from __future__ import annotations

import socket

import httpx
import pytest

from astromesh_core.errors import Unavailable
from astromesh_core.telemetry.metrics import Metrics
from astromesh_core.telemetry.scraping import serving_metrics
from astromesh_testing.mesh import free_ports


async def test_metrics_are_served_until_the_process_ends_and_the_port_is_free_again() -> None:
    metrics = Metrics()
    metrics.runs_open.set(3)
    (port,) = free_ports(1)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            async with serving_metrics(metrics, "127.0.0.1", port):
                page = await client.get("/metrics")
                assert (page.status_code, "astromesh_runs_open 3.0\n" in page.text) == (200, True)
                assert page.headers["content-type"].startswith("text/plain")
            with pytest.raises(httpx.ConnectError):
                await client.get("/metrics")


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_an_address_that_cannot_be_had_is_refused_by_the_settings_name(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"ASTROMESH_METRICS_PORT: .* {host}:{port}: "):
            async with serving_metrics(Metrics(), host, port):
                pytest.fail("it was served")
