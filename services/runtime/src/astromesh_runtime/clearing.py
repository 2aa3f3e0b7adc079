"""Writes a session's own events: that it was cleared. Only the owner of its partition does."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.session_events_pb2 import SessionCleared, SessionEvent
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.chain import GENESIS, build_commit, seal
from astromesh_runtime.scope import Clock


@dataclass(slots=True, eq=False)
class ClearSession:
    """A wish to forget a session, which queues with the session's runs."""

    aggregate: Aggregate
    signal: Signal
    dropped: bool = False
    """Its partition belongs to another worker now."""


@dataclass(frozen=True, slots=True)
class SessionWriter:
    """Appends to session logs."""

    bus: Bus
    worker: str
    clock: Clock

    async def clear(self, item: ClearSession) -> Position:
        """Stores `cleared`, once for each signal; answers the log's position behind it."""
        stored = await self.bus.log.read(item.aggregate)
        if any(event.envelope.signal_id == item.signal.id for event in stored.events):
            return stored.position
        head = stored.events[-1].head() if stored.events else GENESIS
        cleared = SessionCleared(agent=item.signal.clear_session.agent, principal=item.signal.principal)
        envelope = Envelope(
            event_id=secrets.token_hex(16),
            aggregate_type=item.aggregate.type,
            aggregate_id=item.aggregate.id,
            time_unix_nano=self.clock(),
            producer=self.worker,
            traceparent=item.signal.traceparent,
            signal_id=item.signal.id,
            namespace=item.aggregate.namespace,
            session=SessionEvent(cleared=cleared),
        )
        data, _ = seal(envelope, head)
        return await self.bus.log.append(item.aggregate.log, item.aggregate, build_commit([data]), stored.position)
