"""What events change in memory. Pure: reads events, touches no database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
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


class Remembered(NamedTuple):
    """A run's turn joins its session. Known again by (run, index)."""

    namespace: str
    session_key: str
    agent: str
    run_id: str
    event_index: int
    time_unix_nano: int
    position: bytes
    """As `Position.encode` writes it: these bytes sort as the positions do."""
    stored: bytes
    """A serialised MemoryStored. Contents that were moved or sealed stay references in it."""


class Forgotten(NamedTuple):
    """Whatever the session remembered before this place is forgotten (cleared, or its key destroyed)."""

    namespace: str
    session_key: str
    position: bytes


Change = Remembered | Forgotten


def changes_of(commits: Iterable[Commit]) -> Iterator[Change]:
    """Yields what the commits change, in their order. Most commits change nothing."""
    for commit in commits:
        for event in commit.events:
            change = _change(commit, event)
            if change is not None:
                yield change


def _change(commit: Commit, event: StoredEvent) -> Change | None:
    envelope = event.envelope
    namespace = commit.aggregate.namespace
    match envelope.WhichOneof("body"):
        case "run" if envelope.run.WhichOneof("event") == "memory_stored":
            stored = envelope.run.memory_stored
            return Remembered(
                namespace=namespace,
                session_key=stored.session_key,
                agent=stored.agent,
                run_id=envelope.aggregate_id,
                event_index=envelope.index,
                time_unix_nano=envelope.time_unix_nano,
                position=commit.position.encode(),
                stored=stored.SerializeToString(),
            )
        case "session" if envelope.session.WhichOneof("event") in ("cleared", "erased"):
            return Forgotten(namespace, commit.aggregate.id, commit.position.encode())
        case _:
            return None
