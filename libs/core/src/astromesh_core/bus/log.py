"""The event log: appending commits so that each is stored once or surely not, and reading them back whole."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from astromesh_core.bus.answers import Answer, Full, Refused, Stored, Unsettled, WrongLast, read_answer
from astromesh_core.bus.client import BusClient
from astromesh_core.bus.following import LiveCommits, NewFollower, follow
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StoredMessage, StreamReader, Transport
from astromesh_core.bus.shared_feed import SharedFeed
from astromesh_core.bus.streams import RUNS
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import Conflict, InvalidInput, TimedOut, Unavailable
from astromesh_core.events.chain import ChainHead, StoredEvent, open_commit

_ATTEMPT_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 1.0
_FULL_RETRY_SECONDS = 5.0
# Not for ever: whoever is asked nothing because it is not ready would never learn that there is room again.
_FULL_SHOWN_SECONDS = 15.0

_log = structlog.get_logger(__name__)


class AppendConflict(Conflict):
    """Somebody else's commit follows the expected position: this one is not stored and never will be."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.position = position
        """Where the aggregate ends as far as the server told."""


class StoreFull(Unavailable):
    """The server's store has no room. Nothing was stored, and nothing that is stored is lost."""


@dataclass(frozen=True, slots=True)
class StoredAggregate:
    """All stored events of an aggregate, in order, and the position of the last one."""

    events: list[StoredEvent]
    position: Position


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of an aggregate: what the next append needs."""

    position: Position
    head: ChainHead
    last: StoredEvent


class EventLog:
    """The stream RUNS, or another one of aggregates. Safe for any number of concurrent callers."""

    def __init__(
        self,
        client: BusClient,
        transport: Transport | None = None,
        *,
        feed: SharedFeed | None = None,
        stream: str = RUNS,
        attempt_seconds: float = _ATTEMPT_SECONDS,
    ) -> None:
        self._live = LiveCommits(client, feed)
        self._transport: Transport = transport or client
        self._reader = StreamReader(self._transport, stream)
        self._attempt_seconds = attempt_seconds
        self._full = ("", 0.0)

    @property
    def full(self) -> str:
        """Why the store refused an append in the last seconds, with none taken since; else empty."""
        reason, when = self._full
        return reason if time.monotonic() - when < _FULL_SHOWN_SECONDS else ""

    async def append(self, subject: str, aggregate: Aggregate, commit: bytes, expected: Position) -> Position:
        """Stores a commit right after `expected`, once, and returns its position when it is on disk.

        Goes on asking, with the same bytes, until the answer is definite; appending the same bytes again (after a
        crash, say) answers with where they already are. Cancelled, it may have been stored, or still be.
        Raises AppendConflict where another commit stands there, StoreFull where there is no room, Denied, InvalidInput.
        """
        headers = _headers(aggregate, commit, expected)
        pause, in_doubt = _FIRST_PAUSE_SECONDS, False
        while True:
            answer = await self._publish(subject, commit, headers)
            match answer:
                case Stored(sequence):
                    self._full = ("", 0.0)
                    return Position(sequence)
                case WrongLast(last):
                    settled = await self._judge(aggregate, commit, expected, Position(last))
                    if settled is not None:
                        return settled
                case Full(reason) if not in_doubt:
                    self._full = (reason, time.monotonic())
                    raise StoreFull(f"the event store is full: {reason}", retry_after=_FULL_RETRY_SECONDS)
                case Refused(_, reason):
                    raise InvalidInput(f"the event store refuses the commit: {reason}")
                case Full(reason) | Unsettled(reason):
                    # A publish without an answer may land later, so from here on only its own answer tells.
                    in_doubt = True
                    _log.warning("append not settled, asking again", subject=subject, reason=reason)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def read(self, aggregate: Aggregate, *, at_least: Position | None = None) -> StoredAggregate:
        """Every stored event of the aggregate.

        Nothing stored before the call is missing: the read reaches what the stream's leader says is last, or the
        position given, which an append or a conflict told. Raises Unavailable or TimedOut.
        """
        target = at_least
        if target is None:
            last = await self._reader.last(aggregate.filter)
            target = last.position if last is not None else Position.START
        messages = await self._reader.batch(aggregate.filter, Position.START) if target > Position.START else []
        position = messages[-1].position if messages else Position.START
        while position < target:
            # The replica that answered lags behind the leader.
            message = await self._reader.next(aggregate.filter, position)
            if message is None:
                raise Unavailable("the log does not show yet what it acknowledged", retry_after=_FIRST_PAUSE_SECONDS)
            messages.append(message)
            position = message.position
        return StoredAggregate([event for message in messages for event in open_commit(message.data)], position)

    async def tail(self, aggregate: Aggregate) -> Tail | None:
        """The end of the aggregate as the leader knows it, or None where nothing is stored."""
        message = await self._reader.last(aggregate.filter)
        if message is None:
            return None
        last = open_commit(message.data)[-1]
        return Tail(message.position, last.head(), last)

    def follow(
        self, aggregate: Aggregate, from_index: int = 0, *, after: Position = Position.START
    ) -> AsyncGenerator[StoredEvent, None]:
        """Every event from an index on, once and in order, as it is stored; ends after a run's terminal event.

        `after` spares reading what the caller knows: the position of the event before `from_index`. Close it (aclosing)
        where you leave early. Events are others' too: change a copy.
        """
        return follow(self._live, self._reader, aggregate, from_index, after)

    def follow_new(self, aggregate: Aggregate) -> AbstractAsyncContextManager[AsyncGenerator[StoredEvent, None]]:
        """Within the block, every event from index 0 on of an aggregate that does not exist yet, as it is stored.

        Listens from the start of the block, so a caller that appends the first event inside it hears everything that
        follows without reading the log. Of one that exists already, what was stored before comes after two seconds.
        Events are others' too: change a copy.
        """
        return NewFollower(self._live, self._reader, aggregate)

    async def end(self) -> Position:
        """The last position of the whole log."""
        return await self._reader.end()

    async def _publish(self, subject: str, commit: bytes, headers: bytes) -> Answer:
        await self._transport.online()
        try:
            reply = await self._transport.ask(subject, commit, headers=headers, seconds=self._attempt_seconds)
        except (TimedOut, Unavailable) as error:
            return Unsettled(error.message)
        return read_answer(reply)

    async def _judge(self, aggregate: Aggregate, commit: bytes, expected: Position, last: Position) -> Position | None:
        """Whose commit follows the expected position: ours (its position), another's (raises), or not known yet."""
        try:
            found = await self._reader.next(aggregate.filter, expected)
        except (TimedOut, Unavailable) as error:
            _log.warning("conflict not settled, asking again", reason=error.message)
            return None
        if found is None and last > expected:
            _log.warning("conflict not settled, asking again", reason="the log does not show yet what it told")
            return None
        if found is not None and found.data == commit:
            return found.position
        raise AppendConflict(_conflict_text(aggregate, found), max(last, found.position if found else last))


def _headers(aggregate: Aggregate, commit: bytes, expected: Position) -> bytes:
    # Deduplication is checked before the expectation, so the id must be of these bytes and of nothing else.
    return (
        f"NATS/1.0\r\nNats-Msg-Id: {hashlib.sha256(commit).hexdigest()}\r\n"
        f"Nats-Expected-Last-Subject-Sequence: {expected.sequence}\r\n"
        f"Nats-Expected-Last-Subject-Sequence-Subject: {aggregate.filter}\r\n\r\n"
    ).encode()


def _conflict_text(aggregate: Aggregate, found: StoredMessage | None) -> str:
    if found is None:
        return f"{aggregate.id} does not reach the expected position"
    return f"another writer's commit follows in {aggregate.id}"
