"""Writing one aggregate: events gather while an append is in flight and go out together in the next one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.session_events_pb2 import SessionEvent
from astromesh_core.bus.log import AppendConflict, EventLog
from astromesh_core.bus.offload import COMMIT_BYTES, MAX_COMMIT_BYTES, fixed_bytes, offload, sealed_bytes
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.bus.values import ValueStore
from astromesh_core.errors import AstromeshError, Bug, Conflict, LimitExceeded, TemporaryError
from astromesh_core.events.chain import ChainHead, StoredEvent, build_commit, seal
from astromesh_core.events.runs import TERMINAL_EVENTS

MAX_EVENTS = 10_000
MAX_BYTES = 50_000_000
LINGER_SECONDS = 0.05
"""How long an event that nobody waits for may wait for company. Longer than a turn of a busy loop, or a step's last
event and the next one's first would be two commits, each with its fsync."""

# What ends or halts a run, and what became of a call whose intent is stored: to refuse that would hide what happened.
_ALWAYS_ADMITTED = TERMINAL_EVENTS | {
    "claimed",
    "suspended",
    "resumed",
    "approval_decided",
    "question_answered",
    "tool_succeeded",
    "tool_failed",
    "tool_outcome_unknown",
    "step_reconciled",
    "compensation_started",
    "step_compensation_begun",
    "step_compensated",
    "step_compensation_failed",
}
_RETRY_SECONDS = 0.5
_EVENT_ID_BYTES = 16

Clock = Callable[[], int]
"""Unix time in nanoseconds."""
OnStored = Callable[[Sequence[StoredEvent], Position], None]
"""Called with what was just stored, before anybody who waits for it goes on. Must not raise."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Fenced(Conflict):
    """Another writer has appended to the aggregate: whoever holds this writer must stop acting for it."""


class RunTooLarge(LimitExceeded):
    """The run has 10,000 events or 50 MB. Only what ends or halts it, and outcomes of its tools, are still taken."""


class AggregateWriter:
    """The one writer of an aggregate, from a known position and chain head on.

    `record` buffers; an append starts when somebody waits for an event, or a moment later. Events reach the log in the
    order recorded, each once. Not for use by several threads.
    """

    def __init__(
        self,
        log: EventLog,
        values: ValueStore,
        aggregate: Aggregate,
        position: Position,
        head: ChainHead,
        producer: str,
        clock: Clock,
    ) -> None:
        self._log = log
        self._values = values
        self._aggregate = aggregate
        self._producer = producer
        self._clock = clock
        self.on_stored: OnStored | None = None
        self.bytes_recorded = 0
        """Counts towards the run's limit. Whoever takes over a run sets what it holds already."""
        self.position = position
        """Of the last commit stored."""
        self.head = head
        """The chain after the last commit stored."""
        self._next_index = head.next_index
        self._buffer: list[Envelope] = []
        self._sizes: list[int] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._dead: AstromeshError | None = None

    @property
    def next_index(self) -> int:
        """The index that the next recorded event gets."""
        return self._next_index

    def record(self, body: RunEvent | SessionEvent, *, traceparent: str = "", signal_id: str = "") -> int:
        """Takes the event for storing (a copy of it) and answers its index. Raises Fenced, RunTooLarge."""
        if self._dead is not None:
            raise self._dead
        envelope = self._envelope(body, traceparent, signal_id)
        size = envelope.ByteSize()
        self._check_limits(body, size)
        self.bytes_recorded += size
        self._next_index += 1
        self._buffer.append(envelope)
        self._sizes.append(sealed_bytes(size))
        self._await_company()
        return envelope.index

    async def stored(self, index: int) -> None:
        """Returns once the event with this index is stored. Raises Fenced, or whatever ended the writer."""
        await self.storing(index)

    def storing(self, index: int) -> asyncio.Future[None]:
        """Starts storing up to this index. Done once that is stored; raises like `stored`, and may be left alone."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if index < self.head.next_index:
            waiter.set_result(None)
        elif self._dead is not None:
            _fail(waiter, self._dead)
        else:
            assert index < self._next_index, "only a recorded event can be waited for"
            self._kick()
            self._waiting.append((index, waiter))
        return waiter

    async def flush(self) -> None:
        """Returns once everything recorded so far is stored. Raises like `stored`."""
        await self.stored(self._next_index - 1)

    async def close(self) -> None:
        """Stores what is buffered, unless another writer took over. The writer takes nothing more."""
        try:
            await self.flush()
        except AstromeshError as error:
            _log.info("writer closed with events not stored", aggregate=self._aggregate.id, reason=error.message)
        self.abandon()

    def abandon(self, reason: AstromeshError | None = None) -> None:
        """Drops what is buffered and stops at once; an append in flight may still be stored."""
        self._end(reason or Fenced(f"the writer of {self._aggregate.id} is closed"))
        if self._flusher is not None:
            self._flusher.cancel()

    def _envelope(self, body: RunEvent | SessionEvent, traceparent: str, signal_id: str) -> Envelope:
        envelope = Envelope(
            event_id=secrets.token_hex(_EVENT_ID_BYTES),
            aggregate_type=self._aggregate.type,
            aggregate_id=self._aggregate.id,
            index=self._next_index,
            time_unix_nano=self._clock(),
            producer=self._producer,
            traceparent=traceparent,
            signal_id=signal_id,
            namespace=self._aggregate.namespace,
        )
        if isinstance(body, RunEvent):
            envelope.run.CopyFrom(body)
        else:
            envelope.session.CopyFrom(body)
        return envelope

    def _check_limits(self, body: RunEvent | SessionEvent, size: int) -> None:
        if isinstance(body, SessionEvent):
            return
        if size > MAX_COMMIT_BYTES and fixed_bytes(body) > MAX_COMMIT_BYTES:
            raise RunTooLarge(f"an event has more than {MAX_COMMIT_BYTES} bytes that cannot be moved out of the log")
        if body.WhichOneof("event") in _ALWAYS_ADMITTED:
            return
        if self._next_index >= MAX_EVENTS - 1:
            raise RunTooLarge(f"the run has {MAX_EVENTS} events: a run may not have more")
        if self.bytes_recorded + size > MAX_BYTES:
            raise RunTooLarge(f"the run has {self.bytes_recorded} bytes: a run may have {MAX_BYTES}")

    def _await_company(self) -> None:
        if self._flusher is None and self._linger is None and self._buffer:
            self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._kick)

    def _kick(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._flusher is None and self._buffer and self._dead is None:
            self._flusher = asyncio.create_task(self._write())
            self._flusher.add_done_callback(self._written)

    async def _write(self) -> None:
        wanted = True
        while wanted:
            try:
                await self._write_one()
            except AppendConflict as error:
                self._end(Fenced(f"another writer took over {self._aggregate.id}: {error.message}"))
            except AstromeshError as error:
                _log.error("writer ended", aggregate=self._aggregate.id, error_class=error.code, reason=error.message)
                self._end(error)
            # What came meanwhile and nobody waits for waits for company, as it would have without this append.
            wanted = bool(self._buffer and self._waiting)

    async def _write_one(self) -> None:
        # What admits a run is a commit of its own, for it lies under a subject of its own.
        admits = self._aggregate.is_run and self.head.next_index == 0
        subject = self._aggregate.requested if admits else self._aggregate.log
        batch = self._buffer[:1] if admits else self._buffer[:]
        fitting = len(batch)
        if sum(self._sizes[:fitting]) > COMMIT_BYTES:
            fitting = await self._persistently(lambda: offload(batch, self._values))
        events, head = self._sealed(batch[:fitting])
        commit = build_commit(event.data for event in events)
        self.position = await self._persistently(
            lambda: self._log.append(subject, self._aggregate, commit, self.position)
        )
        del self._buffer[:fitting], self._sizes[:fitting]
        self.head = head
        if self.on_stored is not None:
            self.on_stored(events, self.position)
        self._wake()

    def _sealed(self, batch: Sequence[Envelope]) -> tuple[list[StoredEvent], ChainHead]:
        head = self.head
        events: list[StoredEvent] = []
        for envelope in batch:
            data, head = seal(envelope, head)
            events.append(StoredEvent(envelope, data))
        return events, head

    async def _persistently(self, action: Callable[[], Awaitable[T]]) -> T:
        """Repeats what fails for the time being: events wait here while the store is full or away."""
        while True:
            try:
                return await action()
            except TemporaryError as error:
                _log.warning("event log waits", aggregate=self._aggregate.id, reason=error.message)
                await asyncio.sleep(_RETRY_SECONDS)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for index, waiter in waiting:
            if index >= self.head.next_index:
                self._waiting.append((index, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    def _end(self, reason: AstromeshError) -> None:
        self._dead = self._dead or reason
        self._buffer.clear()
        self._sizes.clear()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        waiting, self._waiting = self._waiting, []
        for _, waiter in waiting:
            if not waiter.done():
                _fail(waiter, reason)

    def _written(self, flusher: asyncio.Task[None]) -> None:
        self._flusher = None
        if not flusher.cancelled() and (error := flusher.exception()) is not None:
            bug = Bug(f"the writer of {self._aggregate.id} failed: {error!r}")
            bug.__cause__ = error
            self._end(bug)
        if self._waiting:
            self._kick()
        else:
            self._await_company()


def _fail(waiter: asyncio.Future[None], reason: AstromeshError) -> None:
    waiter.set_exception(reason)
    # Whoever is cancelled before it awaits learns nothing of the failure, and need not.
    waiter.exception()
