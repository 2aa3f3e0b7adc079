"""What events change in conversations. Pure: reads events, touches no backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.session_events_pb2 import SessionEvent
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.conversations import START, Change, Forgotten, Remembered, Summarised
from astromesh_core.events.chain import StoredEvent


class Commit(Protocol):
    """Consecutive events of one run or session, and their place in the log."""

    @property
    def aggregate(self) -> Aggregate:
        """Whose events they are."""
        ...

    @property
    def events(self) -> Sequence[StoredEvent]:
        """The events, in order."""
        ...

    @property
    def position(self) -> Position:
        """Their place, which also orders them among those of all others."""
        ...


def changes_of(commits: Iterable[Commit]) -> Iterator[Change]:
    """Yields what the commits change, in their order. Most commits change nothing."""
    for commit in commits:
        for event in commit.events:
            envelope = event.envelope
            match envelope.WhichOneof("body"):
                case "run" if envelope.run.WhichOneof("event") == "memory_stored":
                    yield from _stored(commit, envelope)
                case "session":
                    yield from _forgotten(commit, envelope.session)
                case _:
                    pass


def _stored(commit: Commit, envelope: Envelope) -> Iterator[Change]:
    stored = envelope.run.memory_stored
    if stored.outside_conversation:
        return
    about = (commit.aggregate.namespace, stored.agent, stored.session_key, envelope.aggregate_id)
    place = (commit.position.encode(), envelope.index, envelope.time_unix_nano)
    if stored.HasField("summary"):
        yield Summarised(*about, *place, stored.summary.through_run_id, stored.summary.text.SerializeToString())
    else:
        yield Remembered(
            *about, *place, stored.user_key, stored.session_id.SerializeToString(), stored.SerializeToString()
        )


def _forgotten(commit: Commit, event: SessionEvent) -> Iterator[Forgotten]:
    namespace, session_key, position = commit.aggregate.namespace, commit.aggregate.id, commit.position.encode()
    match event.WhichOneof("event"):
        case "cleared":
            yield Forgotten(namespace, event.cleared.agent, session_key, position)
        case "erased":
            erased = event.erased
            yield Forgotten(namespace, erased.agent, session_key, position, user_key=erased.user_key)
        case "expired" if not event.expired.kind:
            yield Forgotten(namespace, event.expired.agent, session_key, START, event.expired.until_unix_nano)
        case _:
            pass
