"""A gRPC server for servicers: the gate, limits, health and reflection stand here. What the methods do does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from astromesh_core.errors import Denied, Unavailable
from astromesh_core.readiness import Readiness
from astromesh_core.rpc.addresses import is_local
from astromesh_core.rpc.gates import open_gate
from astromesh_core.rpc.guard import GuardedServer
from astromesh_core.rpc.health import ServedHealth
from astromesh_core.rpc.limits import CONCURRENT_CALLS, SERVER_OPTIONS
from astromesh_core.rpc.ports import Gate, Registrar
from astromesh_core.telemetry.telemetry import Telemetry

_HEALTH_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that takes calls. `address` is what a client connects to, with the port that was bound."""

    address: str
    services: tuple[str, ...]


@asynccontextmanager
async def serve(
    registrars: Sequence[Registrar],
    address: str,
    gate: Gate | None,
    telemetry: Telemetry,
    *,
    readiness: Readiness | None = None,
    concurrent_calls: int = CONCURRENT_CALLS,
    drain_seconds: float = 10.0,
) -> AsyncGenerator[RunningServer]:
    """Serves the registrars' servicers at `address` (`host:port`, port 0 for a free one, or `unix:/path`) within the
    block.

    Leaving the block refuses new calls, lets those under way finish for `drain_seconds`, then cancels them. Health
    (`grpc.health.v1`) follows `readiness` and passes no gate, because probes have no token. Raises Denied for an
    address that others can reach without a gate, Unavailable for one that is taken.
    """
    if gate is None and not is_local(address):
        raise Denied(f"{address} can be reached from other machines: it is not served without a token.")
    server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=concurrent_calls)
    guarded = GuardedServer(server, gate or open_gate, telemetry)
    for registrar in registrars:
        guarded.install(registrar)
    services = tuple(guarded.services)
    guarded.install(lambda target: _add_reflection(services, target))
    health = ServedHealth(services, readiness or Readiness())
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    bound = _bind(server, address)
    await health.refresh()
    await server.start()
    probing = asyncio.create_task(_follow(health)) if readiness else None
    try:
        yield RunningServer(bound, services)
    finally:
        if probing is not None:
            probing.cancel()
        await health.enter_graceful_shutdown()
        await server.stop(drain_seconds)


def _bind(server: grpc.aio.Server, address: str) -> str:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise Unavailable(f"{address} cannot be served: is it taken, or is the address not of this machine?") from error
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    names = (*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(names), server)


async def _follow(health: ServedHealth) -> None:
    while True:
        await asyncio.sleep(_HEALTH_INTERVAL)
        if health.watchers:
            await health.refresh()
