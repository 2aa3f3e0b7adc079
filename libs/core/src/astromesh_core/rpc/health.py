"""`grpc.health.v1` on both sides: what a process tells of its readiness, and how another one asks. The protocol has no
field for a reason, so that it travels in trailing metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from astromesh_core.errors import AstromeshError, TimedOut
from astromesh_core.readiness import CACHED_FOR, Health, Readiness
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.rpc.remote import RemoteChannel

REASON_HEADER = "astromesh-reason-bin"

ASK_SECONDS = 1.0
"""How long a process may take to say how it is; a slower one counts as away."""

BAD_STANDS_SECONDS = 0.2
"""How long bad news of another process stands; good ones do for `CACHED_FOR`."""

_REASON_BYTES = 2_000


class ServedHealth(health_aio.HealthServicer):
    """Tells the readiness of this process: "" and every service alike. `Check` is as fresh as the readiness report;
    whoever watches is told by `refresh`, which only then has to be called."""

    def __init__(self, services: Sequence[str], readiness: Readiness) -> None:
        super().__init__()
        self._services = ("", *services)
        self._readiness = readiness
        self.watchers = 0
        """Calls of `Watch` under way."""

    async def refresh(self) -> str:
        """Takes the newest report over; what is wrong in it, "" for nothing."""
        report = await self._readiness.report()
        answer = health_pb2.HealthCheckResponse
        for service in self._services:
            await self.set(service, answer.SERVING if report.ok else answer.NOT_SERVING)
        return "; ".join(f"{name}: {health.reason}" for name, health in report.checks.items() if not health.ok)

    async def Watch(  # noqa: N802 - the protocol's name
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext
    ) -> None:
        """Part of the protocol: the state now, then every change."""
        self.watchers += 1
        try:
            await self.refresh()
            await super().Watch(request, context)
        finally:
            self.watchers -= 1

    async def Check(  # noqa: N802 - the protocol's name
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Part of the protocol; a bad answer comes with its reason."""
        if reason := await self.refresh():
            context.set_trailing_metadata(((REASON_HEADER, reason.encode()[:_REASON_BYTES]),))
        return await super().Check(request, context)


class PeerHealth:
    """A readiness check: the process at an address answers, and is ready. Asked at most once a second while it is."""

    def __init__(self, service: str, channel: RemoteChannel, clock: Callable[[], float] = monotonic) -> None:
        self._service = service
        self._stub = health_pb2_grpc.HealthStub(channel.stub_channel())
        self._clock = clock
        self._known = Health(False)
        self._stands_until = 0.0
        self._asking = asyncio.Lock()

    async def __call__(self) -> Health:
        """Its health, never older than a second. Raises nothing: a process that is away is red, with its reason."""
        async with self._asking:
            if self._clock() >= self._stands_until:
                self._known = await self._ask()
                self._stands_until = self._clock() + (CACHED_FOR if self._known.ok else BAD_STANDS_SECONDS)
            return self._known

    async def _ask(self) -> Health:
        call = self._stub.Check(health_pb2.HealthCheckRequest(), timeout=ASK_SECONDS)
        try:
            ok = (await call).status == health_pb2.HealthCheckResponse.SERVING
        except TimedOut:
            return Health(False, f"{self._service} did not answer within {ASK_SECONDS:g} s")
        except AstromeshError as error:
            return Health(False, error.message)
        if ok:
            return Health(True, "ready, in another process")
        told = (await call.trailing_metadata()).get(REASON_HEADER)
        reason = told.decode(errors="replace") if isinstance(told, bytes) else "it starts or stops"
        return Health(False, f"{self._service} answers and is not ready: {reason}")


async def served_here() -> Health:
    """The check of a service in this process: it would have ended with it."""
    return Health(True, "in this process")
