"""`astromesh up --processes`: a process for each service, gRPC between them over sockets in the data folder, and one
nats-server. The parent serves nothing: it starts, watches and stops."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import uvloop

from astromesh_cli.ports import is_free
from astromesh_cli.serving.children import Child, serve_command
from astromesh_cli.serving.chosen import Chosen
from astromesh_cli.serving.greeting import address, greet_when_ready
from astromesh_cli.serving.placement import SERVICES
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.launcher import run_until_signalled
from astromesh_core.mesh_secrets import mesh_key, mesh_token
from astromesh_core.settings import PREFIX, Settings
from astromesh_core.telemetry.logs import configure_logs, logger

if TYPE_CHECKING:
    from astromesh_gateway.routes.agents import AgentList
    from astromesh_gateway.routes.health import ReadyReply

_GRACE_SECONDS: Final = 3.0
"""What a process gets to stop beyond the time that its service has to drain."""

_CALLERS_FIRST: Final = ("gateway", "runtime")
"""Stopped one after the other; then the services that they call, all at once."""

_LAST_PORT: Final = 65535

_PASSED_ON: Final = ("config_dir", "data_dir", "host", "port", "grpc_port", "otlp_endpoint", "record_content")

_log = logger(__name__)


def run_processes(how: Chosen) -> int:
    """Runs each service as a process until it is told to stop; the exit code."""
    settings = how.settings
    configure_logs(settings.log_level, settings.log_format, record_content=settings.record_content)
    serving = asyncio.Event()

    async def work(stop: asyncio.Event) -> int:
        return await _supervise(how, stop, serving)

    return uvloop.run(run_until_signalled(work, serving))


async def _supervise(how: Chosen, stop: asyncio.Event, serving: asyncio.Event) -> int:
    settings = how.settings
    _check_ports(how)
    # Made here, before any child looks for them.
    mesh_key(settings)
    mesh_token(settings)
    async with _bus_environment(settings) as (url, credentials):
        children = [
            Child(name, serve_command(name), _environ(settings, url, credentials, name), _grace(settings))
            for name in how.services
        ]
        keeping = [asyncio.create_task(child.keep(), name=child.service) for child in children]
        greeting = asyncio.create_task(_greet(how))
        stopping = asyncio.create_task(stop.wait())
        serving.set()
        try:
            done, _ = await asyncio.wait((*keeping, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                _log.error("service cannot start as it is configured; stopping", service=task.get_name())
            return max((cast("int", task.result()) for task in done - {stopping}), default=0)
        finally:
            greeting.cancel()
            stopping.cancel()
            try:
                await _stop(children)
            finally:
                # A second signal cuts their draining short; they are not left behind, without a bus.
                await asyncio.gather(*(child.kill() for child in children))
            await asyncio.wait((*keeping, greeting, stopping))


async def _stop(children: Sequence[Child]) -> None:
    by_name = {child.service: child for child in children}
    for name in _CALLERS_FIRST:
        if name in by_name:
            await by_name.pop(name).stop()
    await asyncio.gather(*(child.stop() for child in by_name.values()))


@asynccontextmanager
async def _bus_environment(settings: Settings) -> AsyncGenerator[tuple[str, Path]]:
    """Where the bus is, and the credentials: one file for all, or the folder with one for each service."""
    if settings.nats_url:
        yield settings.nats_url, settings.nats_credentials or Path()
        return
    embedded = EmbeddedServer(settings.data_dir, port=settings.nats_port, max_store_bytes=settings.nats_max_store_bytes)
    async with embedded as server:
        yield server.url, server.credentials_folder


def _environ(settings: Settings, url: str, credentials: Path, service: str) -> dict[str, str]:
    chosen = {name: getattr(settings, name) for name in _PASSED_ON}
    chosen |= {
        "nats_url": url,
        "nats_credentials": credentials / f"{service}.json" if credentials.is_dir() else credentials,
        "metrics_port": _metrics_port(settings, service),
    }
    return {**os.environ, **{f"{PREFIX}{name.upper()}": str(value) for name, value in chosen.items()}}


def _metrics_port(settings: Settings, service: str) -> int:
    """Each process has its own, the same whichever services are switched off; 0 where none is wanted."""
    return settings.metrics_port and settings.metrics_port + SERVICES.index(service)


def _grace(settings: Settings) -> float:
    return settings.drain_seconds + _GRACE_SECONDS


def _check_ports(how: Chosen) -> None:
    """Said once and at the start, rather than by a gateway that tries again and again."""
    settings = how.settings
    for port in (settings.port, settings.grpc_port) if "gateway" in how.services else ():
        if not is_free(settings.host, port):
            raise Unavailable(f"{settings.host}:{port} is taken: choose another port, or stop who listens there")
    if not settings.metrics_port:
        return
    if settings.metrics_port > _LAST_PORT - len(SERVICES) + 1:
        raise InvalidInput(f"ASTROMESH_METRICS_PORT needs {len(SERVICES)} ports from {settings.metrics_port} on")
    for port in (_metrics_port(settings, service) for service in how.services):
        if not is_free(settings.host, port):
            raise Unavailable(
                f"{settings.host}:{port} is taken: ASTROMESH_METRICS_PORT needs {len(SERVICES)} ports from "
                f"{settings.metrics_port} on, one for each process"
            )


async def _greet(how: Chosen) -> None:
    if "gateway" not in how.services:
        return
    url = address(how.settings)

    async def missing() -> str:
        return await asyncio.to_thread(_missing, url)

    async def agents() -> list[str]:
        return await asyncio.to_thread(_agents, url)

    await greet_when_ready(how.settings, missing, agents)


def _missing(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/v1/health/ready", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        checks = cast("ReadyReply", json.loads(error.read()))["checks"]
        return "; ".join(f"{name}: {check['reason']}" for name, check in checks.items() if not check["ok"])
    except OSError as error:
        return f"{url} does not answer: {error}"


def _agents(url: str) -> list[str]:
    try:
        with urllib.request.urlopen(f"{url}/v1/agents", timeout=5) as response:
            agents = cast("AgentList", json.loads(response.read()))["agents"]
            return [agent["name"] for agent in agents if agent["generation"]]
    except OSError:
        # A mesh with keys tells nobody without one.
        return []
