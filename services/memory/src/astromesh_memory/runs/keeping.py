"""Keeps one store of one agent in step with the ledger: puts what it lacks, takes out what is forgotten, and goes on
when a store that was away is back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from astromesh_core.bus.positions import Position
from astromesh_core.errors import AstromeshError, Bug, TemporaryError, Unavailable
from astromesh_core.telemetry.logs import logger
from astromesh_memory.runs.changes import Kind
from astromesh_memory.runs.ledger import RunRow, Touched
from astromesh_memory.runs.reading import LoggedRun
from astromesh_memory.runs.scopes import EVERYBODY, Among

SHORTEST_PAUSE_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 30.0

_log = logger(__name__)


class Sink(Protocol):
    """Where one kind of memory of one agent lies. Each method raises Unavailable where the store does not answer."""

    def version(self, row: RunRow) -> bytes:
        """Returns what decides how the run is kept: two of one version are kept alike."""
        ...

    async def versions(self) -> Mapping[str, bytes]:
        """Returns the version of each run that is kept."""
        ...

    async def put(self, run: LoggedRun, *, afresh: bool = False) -> None:
        """Keeps the run, in place of how it was kept before; `afresh` also where that was in the same version."""
        ...

    async def remove(self, run_ids: Sequence[str]) -> None:
        """Forgets runs. Those that are not kept are forgotten already."""
        ...

    async def check(self) -> None:
        """Asks the store for what costs least."""
        ...

    async def close(self) -> None:
        """Lets go of the store. Idempotent."""
        ...


class AgentKey(NamedTuple):
    """Whose memory, and which."""

    namespace: str
    agent: str
    kind: Kind


class Runs(Protocol):
    """Where runs are read."""

    async def run(self, row: RunRow) -> LoggedRun | None:
        """The run; None where it is no longer there."""
        ...


class LedgerCalls(Protocol):
    """The ledger, in its thread."""

    async def rows(self, namespace: str, agent: str) -> list[RunRow]: ...

    async def row(self, run_id: str) -> RunRow | None: ...


class _Work(NamedTuple):
    position: Position
    run: Touched


class Keeper:
    """One sink, from `start` to `close`. `trouble` says why it is not in step; empty while it is."""

    def __init__(
        self, key: AgentKey, open_sink: Callable[[], Awaitable[Sink]], ledger: LedgerCalls, runs: Runs
    ) -> None:
        self.key = key
        self.trouble = ""
        self.failure: AstromeshError | None = None
        self._open_sink = open_sink
        self._ledger = ledger
        self._runs = runs
        self._sink: Sink | None = None
        self._in_step = False
        self._doubted = False
        """Somebody else took something out since the store was last compared."""
        self._work: deque[_Work] = deque()
        self._changed = asyncio.Condition()
        self._tries = 0
        self._wanted = asyncio.Event()
        self._asked = asyncio.Event()
        self._using = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Opens the store and begins, in the background."""
        self._task = asyncio.create_task(self._run(), name=f"memory {self.key.namespace}/{self.key.agent}")
        self._task.add_done_callback(self._ended)

    def offer(self, run: Touched, position: Position) -> None:
        """Tells that the ledger says something else of a run since a position."""
        self._work.append(_Work(position, run))
        self._wanted.set()

    def again(self) -> None:
        """Has the whole store compared with the ledger once more: somebody else took something out."""
        self._in_step, self._doubted = False, True
        self._wanted.set()

    async def sink(self, position: Position, seconds: float, among: Among = EVERYBODY) -> Sink:
        """The store, once it holds what the ledger knew of some runs up to the position: others' may be on their way.

        A store that could not be used is tried again at once. Raises Unavailable where it still cannot, or when that
        takes longer.
        """
        tried = self._tries
        self._asked.set()

        def known() -> bool:
            failed = self.failure is not None and (self._tries > tried or self._task is None or self._task.done())
            return failed or self._reached(position, among)

        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(known)
        except TimeoutError:
            what = f"the {self.key.kind} memory of agent {self.key.agent!r}"
            raise Unavailable(f"{what} is behind the log: it is being built", retry_after=RETRY_SECONDS) from None
        if self.failure is not None or self._sink is None:
            raise Unavailable(self.trouble, retry_after=RETRY_SECONDS)
        return self._sink

    async def check(self) -> None:
        """Asks the store now. Raises what the store raises, or why it cannot be used."""
        await (await self.sink(Position.START, CHECK_SECONDS)).check()

    async def rewrite(self) -> None:
        """Makes everything that is kept again from the log; what is there already is found meanwhile.

        Raises Unavailable where the store cannot be used.
        """
        if self._sink is None or self.failure is not None:
            raise Unavailable(self.trouble or "the store is not open yet", retry_after=RETRY_SECONDS)
        async with self._using:
            await self._align(self._sink, {}, afresh=True)

    async def close(self) -> None:
        """Stops and closes the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._close_sink()

    def _reached(self, position: Position, among: Among) -> bool:
        if not self._in_step:
            return False
        return not any(work.position <= position and among.admits(work.run) for work in self._work)

    async def _run(self) -> None:
        pause = RETRY_SECONDS
        while True:
            try:
                if self._sink is None:
                    self._sink = await self._open_sink()
                async with self._using:
                    await self._catch_up(self._sink)
                await self._tell("", None)
                pause = RETRY_SECONDS
                await self._follow(self._sink)
                continue
            except AstromeshError as error:
                await self._tell(error.message, error)
                _log.warning("memory is not in step", kind=self.key.kind, agent=self.key.agent, reason=error.message)
                if not isinstance(error, TemporaryError):
                    pause = LONGEST_PAUSE_SECONDS
            await self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Waits before the next attempt: less where somebody asks for the store."""
        self._asked.clear()
        await asyncio.sleep(SHORTEST_PAUSE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    async def _catch_up(self, sink: Sink) -> None:
        self._in_step = self._doubted = False
        # Whatever was told until now stands in the ledger that is read next.
        self._work.clear()
        await self._align(sink, await sink.versions())

    async def _align(self, sink: Sink, kept: Mapping[str, bytes], *, afresh: bool = False) -> None:
        """Puts every run that is not kept in its version, and takes out what the ledger does not have."""
        rows = [row for row in await self._ledger.rows(self.key.namespace, self.key.agent) if row.has(self.key.kind)]
        for row in rows:
            if kept.get(row.run_id) != sink.version(row):
                await self._put(sink, row, afresh=afresh)
        there = await sink.versions()
        await sink.remove(sorted(there.keys() - {row.run_id for row in rows}))

    async def _follow(self, sink: Sink) -> None:
        while self._in_step:
            # Before the work is done, or what is wanted meanwhile would be forgotten.
            self._wanted.clear()
            while self._work:
                async with self._using:
                    await self._keep(sink, self._work[0].run.run_id)
                async with self._changed:
                    self._work.popleft()
                    self._changed.notify_all()
            await self._wanted.wait()

    async def _keep(self, sink: Sink, run_id: str) -> None:
        row = await self._ledger.row(run_id)
        if row is not None and row.has(self.key.kind):
            await self._put(sink, row)
        else:
            await sink.remove([run_id])

    async def _put(self, sink: Sink, row: RunRow, *, afresh: bool = False) -> None:
        run = await self._runs.run(row)
        if run is None:
            _log.warning("a run is no longer in the log and is not remembered", run_id=row.run_id)
        else:
            await sink.put(run, afresh=afresh)

    async def _tell(self, trouble: str, failure: AstromeshError | None) -> None:
        async with self._changed:
            self.trouble, self.failure = trouble, failure
            self._in_step = failure is None and not self._doubted
            self._tries += 1
            self._changed.notify_all()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("a store of memory has a bug", kind=self.key.kind, agent=self.key.agent, exc_info=error)
        self.trouble = (
            f"the {self.key.kind} memory met a bug: {type(error).__name__}; the log of memory has the details"
        )
        self.failure = Bug(self.trouble)

    async def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            await sink.close()
