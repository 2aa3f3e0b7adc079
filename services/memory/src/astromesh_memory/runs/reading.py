"""Reads back from the log what a remembered run was: whose, what was said, what happened, and how it was rated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.runs_pb2 import Feedback
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate, run_aggregate, session_aggregate
from astromesh_core.errors import NotFound
from astromesh_core.events.contents import plain
from astromesh_core.events.identity import MeshKey, owner_key, user_key
from astromesh_core.events.sessions import feedback_of
from astromesh_memory.runs.ledger import RunRow


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A remembered run with its events, contents fetched."""

    row: RunRow
    events: Sequence[Envelope]
    feedback: Sequence[Feedback]


class RunReader:
    """Reads runs that have ended. Each method raises Unavailable or TimedOut where the bus is away."""

    def __init__(self, bus: Bus, key: MeshKey) -> None:
        self._bus = bus
        self._key = key

    async def row(self, aggregate: Aggregate, position: bytes) -> RunRow | None:
        """The ledger's row of a run; None where the log no longer tells whose it was."""
        events = [event.envelope for event in (await self._bus.log.read(aggregate)).events]
        if not events or not events[0].run.HasField("requested"):
            return None
        requested = events[0].run.requested
        await self._bus.values.resolve_all(requested.user)
        try:
            user = plain(requested.user)
        except NotFound:
            return None  # the person was erased: nothing may be remembered of them
        started = next((it.run.started for it in events if it.run.HasField("started")), None)
        turn = next((it for it in events if it.run.HasField("memory_stored") and it.run.memory_stored.turn), None)
        semantic = started is not None and started.semantic and turn is not None
        return RunRow(
            run_id=aggregate.id,
            namespace=aggregate.namespace,
            agent=requested.agent,
            session_key=requested.session_key,
            user_key=user_key(self._key, aggregate.namespace, user) if user else "",
            owner_key=owner_key(self._key, aggregate.namespace, requested.agent, requested.principal, user)
            if user
            else "",
            position=position,
            time_unix_nano=(turn or events[-1]).time_unix_nano,
            turn_index=turn.index if turn is not None else -1,
            semantic=int(semantic),
            episodic=int(started is not None and started.episodic),
            ratings=0,
        )

    async def run(self, row: RunRow) -> LoggedRun | None:
        """The run; None where its content was erased or is no longer in the log."""
        events = [
            event.envelope for event in (await self._bus.log.read(run_aggregate(row.namespace, row.run_id))).events
        ]
        for envelope in events:
            await self._bus.values.resolve_all(envelope)
        feedback = await self._feedback(row) if row.ratings else []
        return LoggedRun(row, events, feedback) if events else None

    async def _feedback(self, row: RunRow) -> list[Feedback]:
        session = await self._bus.log.read(session_aggregate(row.namespace, row.session_key))
        return feedback_of((event.envelope for event in session.events), row.run_id)
