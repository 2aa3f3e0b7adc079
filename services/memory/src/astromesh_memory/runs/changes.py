"""What events change in the ledger of remembered runs. Pure: reads events, touches no database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from astromesh.v1.envelope_pb2 import Envelope
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.events.runs import is_terminal
from astromesh_memory.changes import Commit

Kind = Literal["semantic", "episodic"]
KINDS: tuple[Kind, ...] = ("semantic", "episodic")


class Opened(NamedTuple):
    """A run began of which something will be remembered."""

    run_id: str


class Ended(NamedTuple):
    """Such a run is over."""

    aggregate: Aggregate
    position: bytes


class Rated(NamedTuple):
    """Something was said of a run."""

    run_id: str
    event_index: int
    """In its session's log."""


class Forgotten(NamedTuple):
    """What was remembered of a session's runs before a place, or up to a time, is forgotten."""

    namespace: str
    session_key: str
    position: bytes
    """Of the event: runs that ended before it are forgotten; `until_unix_nano` alone decides where that is set."""
    user_key: str = ""
    """Only this person's."""
    until_unix_nano: int = 0
    kinds: tuple[Kind, ...] = KINDS


Change: TypeAlias = Opened | Ended | Rated | Forgotten


def changes_of(commits: Iterable[Commit], is_open: Callable[[str], bool]) -> Iterator[Change]:
    """Yields what the commits change, in their order. `is_open` knows the runs that began in earlier ones."""
    opened = set[str]()
    for commit in commits:
        run_id = commit.aggregate.id
        for event in commit.events:
            envelope = event.envelope
            if envelope.HasField("session"):
                yield from _of_session(commit, envelope)
            elif envelope.run.HasField("started"):
                if envelope.run.started.semantic or envelope.run.started.episodic:
                    opened.add(run_id)
                    yield Opened(run_id)
            elif is_terminal(envelope.run) and (run_id in opened or is_open(run_id)):
                yield Ended(commit.aggregate, commit.position.encode())


def _of_session(commit: Commit, envelope: Envelope) -> Iterator[Change]:
    event, namespace = envelope.session, commit.aggregate.namespace
    forgotten = Forgotten(namespace, commit.aggregate.id, commit.position.encode())
    match event.WhichOneof("event"):
        case "cleared":
            yield forgotten
        case "erased":
            yield forgotten._replace(user_key=event.erased.user_key)
        case "expired" if event.expired.kind:
            kind = _KINDS.get(event.expired.kind)
            if kind is not None:
                yield forgotten._replace(until_unix_nano=event.expired.until_unix_nano, kinds=(kind,))
        case "feedback":
            yield Rated(event.feedback.run_id, envelope.index)
        case _:
            pass


_KINDS: dict[str, Kind] = {"semantic": "semantic", "episodic": "episodic"}
