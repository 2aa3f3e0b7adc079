"""What the gateway's surfaces share: built once by `app`, found by routes and servicers."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from astromesh.v1.signal_pb2 import CancelSignal, Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.signals import Signals
from astromesh_core.errors import AstromeshError
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import MeshKey
from astromesh_core.readiness import Readiness
from astromesh_core.telemetry.logs import logger
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_gateway.admission import Admission, PreparedRun
from astromesh_gateway.auth import Authenticator
from astromesh_gateway.directory import Directory
from astromesh_gateway.following import Following
from astromesh_gateway.mesh_metrics import MeshMetrics

if TYPE_CHECKING:
    # Known to type checkers alone: at run time there is one kind of stub.
    from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceAsyncStub
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub
    from astromesh.v1.memory_pb2_grpc import MemoryServiceAsyncStub
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub
    from astromesh.v1.runtime_pb2_grpc import RuntimeServiceAsyncStub
    from astromesh.v1.tools_pb2_grpc import ToolsServiceAsyncStub

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the gateway asks."""

    history: HistoryServiceAsyncStub
    memory: MemoryServiceAsyncStub
    runtime: RuntimeServiceAsyncStub
    tools: ToolsServiceAsyncStub
    rag: RagServiceAsyncStub
    guardrails: GuardrailsServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway's parts."""

    bus: Bus
    services: Services
    directory: Directory
    authenticator: Authenticator
    admission: Admission
    following: Following
    departures: Departures
    telemetry: Telemetry
    metrics: MeshMetrics
    readiness: Readiness
    mesh_key: MeshKey
    on_demand: AsyncExitStack
    """Closes what was opened when the first caller needed it."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process stops: streams that can be resumed elsewhere end."""


@dataclass(slots=True)
class Departures:
    """Cancels runs whose callers left and had asked for it, or call them off. Survives the request that ends."""

    signals: Signals
    _sending: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def left(self, prepared: PreparedRun, seen: str) -> None:
        """The run's caller is gone, having seen this text. Does nothing unless the run was asked for so."""
        if prepared.event.cancel_on_disconnect:
            self.cancel(prepared, "the caller left", seen)

    def cancel(self, prepared: PreparedRun, reason: str, seen: str = "") -> None:
        """Cancels the run for its caller, who has seen this text."""
        task = asyncio.create_task(self._cancel(prepared, reason, seen), name=f"cancel {prepared.run_id}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def settle(self) -> None:
        """Returns when every signal is sent, or given up."""
        await asyncio.gather(*self._sending)

    async def _cancel(self, prepared: PreparedRun, reason: str, seen: str) -> None:
        signal = Signal(
            id=secrets.token_hex(16),
            aggregate_id=prepared.run_id,
            time_unix_nano=time.time_ns(),
            principal=prepared.event.principal,
            traceparent=prepared.traceparent,
            cancel=CancelSignal(reason=reason, seen=text_content(seen) if seen else None),
        )
        try:
            await self.signals.send(prepared.namespace, signal)
        except AstromeshError as error:
            _log.warning("a run goes on without its caller", run_id=prepared.run_id, reason=error.message)
