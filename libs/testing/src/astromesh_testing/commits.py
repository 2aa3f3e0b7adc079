"""Runs and commits for tests of the log: real envelopes in a real chain, with as little in them as will do."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import RunEvent
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate, run_aggregate
from astromesh_core.events.chain import GENESIS, ChainHead, build_commit, seal
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import random_run_id, random_session


def new_run(namespace: str = "default") -> Aggregate:
    """A run that nobody knows yet."""
    return run_aggregate(namespace, random_run_id(random_session()))


def requested(query: str = "hello") -> RunEvent:
    """What admits a run."""
    event = RunEvent()
    event.requested.agent = "echo"
    event.requested.query.CopyFrom(text_content(query))
    return event


def begun(path: str = "1") -> RunEvent:
    """An event in the middle of a run."""
    event = RunEvent()
    event.model_call_begun.path = path
    return event


def completed(answer: str = "hello") -> RunEvent:
    """The event that ends a run."""
    event = RunEvent()
    event.completed.answer.CopyFrom(text_content(answer))
    return event


def commit_of(
    aggregate: Aggregate,
    bodies: Sequence[RunEvent],
    head: ChainHead = GENESIS,
    *,
    producer: str = "test",
    time_unix_nano: int = 0,
) -> tuple[bytes, ChainHead]:
    """A commit of these events and the chain's head after it. No two calls give the same bytes."""
    sealed: list[bytes] = []
    for body in bodies:
        envelope = Envelope(
            event_id=secrets.token_hex(16),
            aggregate_type=aggregate.type,
            aggregate_id=aggregate.id,
            time_unix_nano=time_unix_nano,
            producer=producer,
            namespace=aggregate.namespace,
            run=body,
        )
        data, head = seal(envelope, head)
        sealed.append(data)
    return build_commit(sealed), head


class Writing:
    """Appends to one aggregate, one commit after the other."""

    def __init__(self, log: EventLog, aggregate: Aggregate) -> None:
        self.log, self.aggregate = log, aggregate
        self.position, self.head = Position.START, GENESIS

    async def append(self, *bodies: RunEvent) -> ChainHead:
        """Stores the events in one commit; answers the chain's head after it."""
        commit, self.head = commit_of(self.aggregate, bodies, self.head)
        self.position = await self.log.append(self.aggregate.log, self.aggregate, commit, self.position)
        return self.head
