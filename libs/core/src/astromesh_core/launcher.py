"""Starts processes: the bus, then services on one platform, each in a task of its own; and stops them, last started
first. What a service is made of is its own matter."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uvloop

from astromesh_core.bus.connection import Bus, open_bus
from astromesh_core.bus.credentials import load_credentials
from astromesh_core.bus.embedded import EmbeddedServer
from astromesh_core.bus.permissions import MESH
from astromesh_core.errors import AstromeshError, Bug, InvalidInput, PermanentError, TemporaryError
from astromesh_core.garbage import settle
from astromesh_core.hosting import hosted, named
from astromesh_core.mesh_secrets import mesh_key, mesh_token
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.connections import Connections
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.ports import Registrar
from astromesh_core.rpc.process_metrics import tells_metrics
from astromesh_core.rpc.serving import serve
from astromesh_core.rpc.sockets import socket_address
from astromesh_core.service import OpenService, Platform
from astromesh_core.settings import Settings
from astromesh_core.telemetry.logs import configure_logs, logger
from astromesh_core.telemetry.scraping import serving_metrics
from astromesh_core.telemetry.telemetry import telemetry_for

EXIT_CODES: dict[type[AstromeshError], int] = {PermanentError: 78, TemporaryError: 75, AstromeshError: 70}
"""How a process ends that could not start or go on (sysexits.h): 78 mend the configuration, 75 try again, 70 our
bug."""

SERVICES = ("gateway", "runtime", "router", "memory", "tools", "guardrails", "rag", "history", "operator")
"""Whom a process may look for on this machine, where no address is configured."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Mesh:
    """Services running in this process."""

    platform: Platform
    address: str
    """Where they are served to other processes; "" where they are not."""
    _failed: asyncio.Future[AstromeshError]

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set. Raises, named, what ended a service before that."""
        waiting = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((waiting, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._failed.done():
            raise self._failed.result()


@asynccontextmanager
async def compose(services: Mapping[str, OpenService], settings: Settings, serve_at: str = "") -> AsyncGenerator[Mesh]:
    """Runs the services in this process, started in the given order and stopped in the reverse.

    They reach each other in process and others by `settings.peers`. With `serve_at`, other processes reach them
    there, over gRPC and with the mesh's token. Raises what kept a service from starting, named, after stopping the
    ones before it.
    """
    instance = f"{next(iter(services)) if len(services) == 1 else MESH}-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        platform, local, failed = await _platform(stack, services, settings, instance)
        registrars: list[Registrar] = []
        for name, open_service in services.items():
            registrar = await stack.enter_async_context(hosted(name, open_service, platform, _first(failed)))
            if registrar is not None:
                local.install(registrar)
                registrars.append(registrar)
        address = ""
        if serve_at:
            registrars.append(tells_metrics(platform.telemetry.metrics, instance, services))
            gate = MeshGate(mesh_token(settings))
            address = (
                await stack.enter_async_context(
                    serve(registrars, serve_at, gate, platform.telemetry, readiness=platform.readiness)
                )
            ).address
        yield Mesh(platform, address, failed)


Beside = Callable[[Mesh], Awaitable[int | None]]
"""Work beside the services, started when they serve. A code that it answers ends the process with it, after draining;
None lets them serve on."""


def run_services(
    services: Mapping[str, OpenService], settings: Settings, serve_at: str = "", beside: Beside | None = None
) -> int:
    """Runs the services as this process until SIGTERM or SIGINT, drains, and answers the exit code.

    A second signal cuts the draining short.
    """
    configure_logs(settings.log_level, settings.log_format, record_content=settings.record_content)
    serving = asyncio.Event()

    async def work(stop: asyncio.Event) -> int:
        async with compose(services, settings, serve_at) as mesh:
            _log.info("serving", services=list(services), address=mesh.address)
            serving.set()
            settle()
            code = await _serve(mesh, stop, beside)
            _log.info("draining", services=list(services))
        return code

    return uvloop.run(run_until_signalled(work, serving))


async def run_until_signalled(work: Callable[[asyncio.Event], Awaitable[int]], serving: asyncio.Event) -> int:
    """Does the work of a process and answers its exit code. SIGTERM and SIGINT set the event that the work is given.

    Before it serves there is nothing to drain, so that a signal cuts it short and the code is 0; so does a second one.
    """
    stop = asyncio.Event()
    task = asyncio.ensure_future(work(stop))

    def signalled() -> None:
        # Before it serves there is nothing to drain; a second signal means at once.
        if stop.is_set() or not serving.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    await asyncio.wait((task,))
    if task.cancelled():
        return 0
    error = task.exception()
    return task.result() if error is None else exit_code(error)


async def _serve(mesh: Mesh, stop: asyncio.Event, beside: Beside | None) -> int:
    running = asyncio.ensure_future(mesh.run(stop))
    other = asyncio.ensure_future(beside(mesh)) if beside is not None else None
    tasks = [task for task in (running, other) if task is not None]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        code = other.result() if other is not None and not running.done() else None
        if code is None:
            await running
        return code or 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def exit_code(error: BaseException) -> int:
    """How a process ends for this error, which is logged."""
    known = error if isinstance(error, AstromeshError) else named("the process", error)
    _log.error(known.message, error=known.code, exc_info=known.__cause__ if isinstance(known, Bug) else None)
    return next(code for kind, code in EXIT_CODES.items() if isinstance(known, kind))


async def _platform(
    stack: AsyncExitStack, services: Mapping[str, OpenService], settings: Settings, instance: str
) -> tuple[Platform, InProcessServer, asyncio.Future[AstromeshError]]:
    """What is under the services. The stack undoes it, after them."""
    # Conversations and databases of all services are kept in it: nobody else on the machine reads them.
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    telemetry = telemetry_for(
        instance.rpartition("-")[0],
        instance,
        otlp_endpoint=settings.otlp_endpoint,
        record_content=settings.record_content,
        names_limit=settings.metric_names,
    )
    # Sending the last spans blocks, so it is done in a thread.
    stack.push_async_callback(asyncio.to_thread, telemetry.close)
    if settings.metrics_port:
        await stack.enter_async_context(serving_metrics(telemetry.metrics, settings.host, settings.metrics_port))
    bus = await stack.enter_async_context(_open_bus(services, settings, instance))
    bus.dead_letters.on_stored = lambda consumer: telemetry.metrics.dead_letters.labels(consumer).inc()
    readiness = Readiness()
    readiness.include(bus.health)
    peers = {name: socket_address(settings.data_dir, name) for name in SERVICES} | settings.peers
    local = InProcessServer(telemetry)
    connections = Connections(local, services, peers, mesh_token(settings))
    stack.push_async_callback(connections.close)
    stack.push_async_callback(local.stop, settings.drain_seconds)
    platform = Platform(settings, bus, connections, telemetry, readiness, mesh_key(settings), instance)
    return platform, local, asyncio.get_running_loop().create_future()


@asynccontextmanager
async def _open_bus(services: Mapping[str, OpenService], settings: Settings, instance: str) -> AsyncGenerator[Bus]:
    user = next(iter(services)) if len(services) == 1 else MESH
    async with AsyncExitStack() as stack:
        if settings.nats_url:
            if settings.nats_credentials is None:
                raise InvalidInput(
                    "ASTROMESH_NATS_URL needs ASTROMESH_NATS_CREDENTIALS: a file with user and password."
                )
            url, credentials = settings.nats_url, load_credentials(settings.nats_credentials)
        else:
            embedded = EmbeddedServer(
                settings.data_dir, port=settings.nats_port, max_store_bytes=settings.nats_max_store_bytes
            )
            server = await stack.enter_async_context(embedded)
            url, credentials = server.url, server.credentials(user)
        yield await stack.enter_async_context(open_bus(url, service=user, credentials=credentials, name=instance))


def _first(failed: asyncio.Future[AstromeshError]) -> Callable[[AstromeshError], None]:
    def remember(error: AstromeshError) -> None:
        if not failed.done():
            failed.set_result(error)

    return remember
