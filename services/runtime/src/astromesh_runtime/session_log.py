"""Writes a session's own events: that it was cleared, what was said of its runs. Only its partition's owner does."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.session_events_pb2 import (
    SessionCleared,
    SessionErased,
    SessionEvent,
    SessionExpired,
    SessionFeedback,
)
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.chain import GENESIS, build_commit, seal
from astromesh_runtime.scope import Clock


@dataclass(slots=True, eq=False)
class SessionWish:
    """A signal to a session, which queues with the session's runs."""

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

    async def write(self, wish: SessionWish) -> Position:
        """Stores the event that the signal asks for, once for each signal; answers the log's position behind it."""
        signal = wish.signal
        stored = await self.bus.log.read(wish.aggregate)
        if any(event.envelope.signal_id == signal.id for event in stored.events):
            return stored.position
        head = stored.events[-1].head() if stored.events else GENESIS
        envelope = Envelope(
            event_id=secrets.token_hex(16),
            aggregate_type=wish.aggregate.type,
            aggregate_id=wish.aggregate.id,
            time_unix_nano=self.clock(),
            producer=self.worker,
            traceparent=signal.traceparent,
            signal_id=signal.id,
            namespace=wish.aggregate.namespace,
            session=_EVENTS[signal.WhichOneof("body") or ""](signal),
        )
        data, _ = seal(envelope, head)
        return await self.bus.log.append(wish.aggregate.log, wish.aggregate, build_commit([data]), stored.position)


def is_for_session(signal: Signal) -> bool:
    """Whether the signal is one to a session, and not to a run."""
    return signal.WhichOneof("body") in _EVENTS


def _cleared(signal: Signal) -> SessionEvent:
    return SessionEvent(cleared=SessionCleared(agent=signal.clear_session.agent, principal=signal.principal))


def _feedback(signal: Signal) -> SessionEvent:
    said = signal.feedback
    event = SessionFeedback(agent=said.agent, principal=signal.principal, run_id=said.run_id, rating=said.rating)
    if said.HasField("comment"):
        event.comment.CopyFrom(said.comment)
    return SessionEvent(feedback=event)


def _expired(signal: Signal) -> SessionEvent:
    wish = signal.expire_session
    expired = SessionExpired(agent=wish.agent, until_unix_nano=wish.until_unix_nano, kind=wish.kind)
    return SessionEvent(expired=expired)


def _erased(signal: Signal) -> SessionEvent:
    wish = signal.erase_user
    return SessionEvent(erased=SessionErased(agent=wish.agent, principal=signal.principal, user_key=wish.user_key))


_EVENTS: Mapping[str, Callable[[Signal], SessionEvent]] = {
    "clear_session": _cleared,
    "feedback": _feedback,
    "expire_session": _expired,
    "erase_user": _erased,
}
