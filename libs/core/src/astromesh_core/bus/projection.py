"""A projection's feed: the whole log in order, in batches, to one handler that stores rows and position at once.

A handler that raises gets the same batch again; nothing is ever skipped. What is missing from the log, and a chain that
does not hold, is reported and told to readiness; the events that are there are handled all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Literal, NamedTuple, Self

import structlog

from astromesh_core.bus.connection import Bus, BusHealth
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.bus.shared_feed import LogMessage
from astromesh_core.bus.streams import RUNS
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import AstromeshError, Bug, InvalidInput
from astromesh_core.events.chain import GENESIS, ChainHead, StoredEvent
from astromesh_core.events.runs import is_terminal

_BUFFERED_BYTES = 32 << 20
_LARGEST_BATCH = 1024
_SMALLEST_BATCH = 8
_BATCH_SECONDS = 0.2
_GATHER_SECONDS = 0.004
"""After a rest, until what else is on its way joins the batch: a batch of one costs nearly as much as one of ten."""
_HEADS_KEPT = 5_000
"""Of aggregates that may go on. Of one that rests longer the next commit is taken as it comes: history compares it with
the head that it stored."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class ProjectedCommit(NamedTuple):
    """One commit of one aggregate. `position` is how far the log is handled once this commit is."""

    aggregate: Aggregate
    events: list[StoredEvent]
    position: Position


class Gap(NamedTuple):
    """What is not whole after a position: messages that are gone (`messages` of them), one that holds no commit, or an
    aggregate whose chain breaks."""

    after: Position
    messages: int
    reason: str
    kind: Literal["gone", "no-commit", "broken-chain"] = "gone"


Handle = Callable[[list[ProjectedCommit]], Awaitable[None]]


class Projection:
    """`async with Projection(bus, name, handle, position)`: feeds `handle` from after the position on.

    `on_gap` hears of every gap once, from the feed's task. `unfinished` is for a handler that stores what it takes a
    moment later: up to where it has, None where nothing is left. Without `verifies` the chains of aggregates are not
    checked: history does that for the whole mesh.
    """

    buffered = 8192
    """Messages that may wait for the handler, of 32 MiB together."""

    max_lag_seconds = 10.0
    """A projection that is further behind turns readiness red."""

    def __init__(
        self,
        bus: Bus,
        name: str,
        handle: Handle,
        position: Position,
        *,
        on_gap: Callable[[Gap], None] | None = None,
        unfinished: Callable[[], Position | None] | None = None,
        verifies: bool = True,
    ) -> None:
        self._bus = bus
        self._feed = bus.shared_feed
        self._name = name
        self._handle = handle
        self._on_gap = on_gap
        self._unfinished = unfinished
        self._start = self._position = position
        self._attached = float("inf")
        self._reader = StreamReader(bus.nc, RUNS)
        self._buffer: deque[LogMessage] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._progress = asyncio.Condition()
        self._chains = _Chains(whole=position == Position.START) if verifies else None
        self._batch = _LARGEST_BATCH
        self._failure = ""
        self._task: asyncio.Task[None] | None = None
        self._forget_check: Callable[[], None] | None = None
        self.gaps: list[Gap] = []
        """Every gap since the start of this process."""
        self.offered = position.sequence
        """For the shared feed: the sequence of the last message taken into the buffer."""

    @property
    def position(self) -> Position:
        """Up to where the handler has taken the log."""
        return self._position

    @property
    def lag_seconds(self) -> float:
        """For how long there has been something in the log that is not applied."""
        unfinished = self._unfinished() if self._unfinished is not None else None
        return self._feed.lag_seconds((unfinished or self._position).sequence)

    async def applied(self, position: Position) -> None:
        """Waits until the handler has taken the log up to the position."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._position >= position)

    def health(self) -> BusHealth:
        """Red while the handler fails, the feed stands, the projection lags, or a gap was found."""
        reason = self._failure or self._feed.trouble(self)
        if not reason and self._feed.ends_before(self._start, since=self._attached):
            reason = "the log ends before the position of this projection: rebuild it"
        if not reason and self.gaps:
            reason = f"{len(self.gaps)} gaps in the log; the last: {self.gaps[-1].reason}"
        if not reason and self.lag_seconds > self.max_lag_seconds:
            reason = f"{self.lag_seconds:.0f} s behind the log"
        return BusHealth(f"projection {self._name}", not reason, reason)

    async def __aenter__(self) -> Self:
        self._forget_check = self._bus.add_check(self.health)
        self._task = asyncio.create_task(self._run(), name=f"projection {self._name}")
        self._attached = time.monotonic()
        await self._feed.attach(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._feed.detach(self)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._forget_check is not None:
            self._forget_check()

    # -- the buffer ----------------------------------------------------------------------------------------------------

    def offer(self, message: LogMessage) -> bool:
        """Takes the message into the buffer, or answers False where that is full."""
        if len(self._buffer) >= self.buffered or self._bytes >= _BUFFERED_BYTES:
            return False
        self._buffer.append(message)
        self._bytes += len(message.data)
        self.offered = message.sequence
        self._arrived.set()
        return True

    async def room(self) -> None:
        """Waits until the buffer is half empty."""
        self._has_room.clear()
        await self._has_room.wait()

    async def _next_batch(self) -> list[LogMessage]:
        if not self._buffer:
            self._arrived.clear()
            await self._arrived.wait()
            await asyncio.sleep(_GATHER_SECONDS)
        batch = [self._buffer.popleft() for _ in range(min(self._batch, len(self._buffer)))]
        self._bytes -= sum(len(message.data) for message in batch)
        if len(self._buffer) <= self.buffered // 2 and self._bytes <= _BUFFERED_BYTES // 2:
            self._has_room.set()
        return batch

    # -- the handling --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            commits: list[ProjectedCommit] = []
            last = self._position.sequence
            for message in await self._next_batch():
                if message.sequence != last + 1:
                    commits += await self._fill(last, message.sequence)
                commits += self._opened(message)
                last = message.sequence
            await self._handled(commits)
            self._position = Position(last)
            async with self._progress:
                self._progress.notify_all()
            # A handler that never waits must not keep the loop to itself.
            await asyncio.sleep(0)

    async def _handled(self, commits: list[ProjectedCommit]) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while commits:
            started = time.monotonic()
            try:
                await self._handle(commits)
            except Exception as error:  # noqa: BLE001 - the consumer loop's edge: told to readiness, and tried again
                self._failure = f"the handler fails: {error!r}"
                _log.error("projection handler failed", projection=self._name, exc_info=error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            self._failure = ""
            slow = time.monotonic() - started > _BATCH_SECONDS
            self._batch = max(_SMALLEST_BATCH, self._batch // 2) if slow else min(_LARGEST_BATCH, self._batch * 2)
            return

    async def _fill(self, last: int, until: int) -> list[ProjectedCommit]:
        """Asks the log's leader for what did not come between two sequences; reports what is not there."""
        commits: list[ProjectedCommit] = []
        while last + 1 < until:
            try:
                found = await self._reader.next(">", Position(last))
            except AstromeshError as error:
                self._failure = f"a gap cannot be looked into: {error}"
                await asyncio.sleep(_FIRST_PAUSE_SECONDS)
                continue
            upto = min(found.position.sequence, until) if found else until
            if upto > last + 1:
                self._report(Gap(Position(last), upto - last - 1, f"{upto - last - 1} messages are gone from the log"))
            if found and upto < until:
                commits += self._opened(LogMessage(upto, found.subject, found.data))
            last = upto
        return commits

    def _opened(self, message: LogMessage) -> list[ProjectedCommit]:
        try:
            commit = ProjectedCommit(message.aggregate, message.events, Position(message.sequence))
        except (Bug, InvalidInput) as error:
            self._report(
                Gap(Position(message.sequence - 1), 0, f"{message.subject} holds no commit: {error}", "no-commit")
            )
            return []
        broken = self._broken(commit) if commit.events else "a commit without events"
        if broken:
            self._report(Gap(Position(message.sequence - 1), 0, f"{commit.aggregate.id}: {broken}", "broken-chain"))
        return [commit]

    def _broken(self, commit: ProjectedCommit) -> str:
        return self._chains.check(commit) if self._chains is not None else ""

    def _report(self, gap: Gap) -> None:
        self.gaps.append(gap)
        _log.error("gap in the log", projection=self._name, messages=gap.messages, reason=gap.reason)
        if self._on_gap is not None:
            self._on_gap(gap)


class _Chains:
    """The heads of the open aggregates seen last. One seen before this process began is taken as it comes."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._heads: OrderedDict[str, ChainHead] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def check(self, commit: ProjectedCommit) -> str:
        """Why the commit does not continue its aggregate's chain; empty where it does."""
        head = self._heads.pop(commit.aggregate.id, None)
        if head is None and (self._whole or commit.events[0].index == 0):
            head = GENESIS
        broken = ""
        for event in commit.events:
            if head is not None and event.index != head.next_index:
                broken = broken or f"event {event.index} stands where {head.next_index} should"
            elif head is not None and event.envelope.previous_sha256 != head.sha256:
                broken = broken or f"event {event.index} does not follow from the one before it"
            head = event.head()
        # Nothing comes after a run's end: to keep every head would be most of what this process remembers of its runs.
        if head is not None and not is_terminal(commit.events[-1].envelope.run):
            self._heads[commit.aggregate.id] = head
        if len(self._heads) > _HEADS_KEPT:
            self._heads.popitem(last=False)
            self._whole = False
        return broken
