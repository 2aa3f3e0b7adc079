"""Following runs: a new one from before its first event, so that the log is not read, and any one from an index on.

What a caller sees of a run is a sequence of parts: pieces of text, and stored events with the run as it is after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.runs_pb2 import Run
from astromesh.v1.signal_pb2 import Delta
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.errors import PolicyRefused
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import may_hold_stored
from astromesh_core.events.runs import TERMINAL, RunFolder
from astromesh_gateway.admission import Admission, PreparedRun
from astromesh_gateway.replies import contents
from astromesh_gateway.tokens import Restart, Thought, Token, Tokens
from astromesh_gateway.waiting import WAITING, QueueWatch, Sessions

_HELD_PARTS = 1_000


@dataclass(frozen=True, slots=True)
class Told:
    """A stored event, its contents fetched, and the run after it (the same object for every part of a run)."""

    index: int
    envelope: Envelope
    run: Run


Part = Token | Thought | Restart | Told


class CheckedFolder(RunFolder):
    """Folds a run for its caller: what a model said, and what a tool answered, before the agent's rules checked it is
    left out."""

    def __init__(self) -> None:
        super().__init__()
        self._checks_output = self._checks_results = False

    def apply(self, envelope: Envelope) -> None:
        """See RunFolder."""
        super().apply(envelope)
        kind = envelope.run.WhichOneof("event")
        if kind == "started":
            self._checks_output = envelope.run.started.checks_output
            self._checks_results = envelope.run.started.checks_tool_results
        elif self._checks_output and kind == "model_replied":
            step = self.step(envelope.run.model_replied.path)
            step.ClearField("output")
            step.ClearField("reasoning")
        elif self._checks_results and kind == "tool_succeeded":
            step = self.step(envelope.run.tool_succeeded.path)
            step.ClearField("output")
            step.ClearField("whole")
        elif self._checks_results and kind == "tool_failed":
            failure = self.step(envelope.run.tool_failed.path).failure
            if failure.error_class != PolicyRefused.code:
                failure.ClearField("message")


class Following:
    """Admits runs and follows them."""

    def __init__(self, bus: Bus, admission: Admission, sessions: Sessions) -> None:
        self._log = bus.log
        self._sessions = sessions
        self._deltas = bus.deltas
        self._values = bus.values
        self._admission = admission

    async def complete(self, prepared: PreparedRun) -> Run:
        """Admits the run and answers it when it has ended or waits, or is queued behind one that waits.

        Raises like `Admission.admit`.
        """
        async with self._log.follow_new(prepared.aggregate) as live:
            if await self._admission.admit(prepared):
                run = await self._settled(prepared, live)
                if run.status in TERMINAL:
                    self._admission.ended(prepared)
                return run
        async with aclosing(self._log.follow(prepared.aggregate)) as events:
            return await self._settled(prepared, events)

    @asynccontextmanager
    async def streamed(self, prepared: PreparedRun) -> AsyncGenerator[AsyncIterator[Part]]:
        """Admits the run; its parts until it has ended or waits, or is queued behind one that waits.

        Raises like `Admission.admit`, on entering.
        """
        aggregate = prepared.aggregate
        async with (
            self._log.follow_new(aggregate) as live,
            self._deltas.subscribe(aggregate.namespace, aggregate.id) as deltas,
        ):
            if await self._admission.admit(prepared):
                async with aclosing(self._parts(aggregate, live, deltas, asked=prepared)) as parts:
                    yield self._until_ended(prepared, parts)
            else:
                async with (
                    aclosing(self._log.follow(aggregate)) as events,
                    aclosing(self._parts(aggregate, events, deltas, asked=prepared)) as parts,
                ):
                    yield parts

    @asynccontextmanager
    async def watched(self, aggregate: Aggregate, after: int) -> AsyncGenerator[AsyncIterator[Part]]:
        """The parts of an existing run after the event with that index (-1: all) until it has ended.

        Text of a model call that began before may be told again, after a Restart.
        """
        async with (
            self._deltas.subscribe(aggregate.namespace, aggregate.id) as deltas,
            aclosing(self._log.follow(aggregate)) as events,
            aclosing(self._parts(aggregate, events, deltas, after=after)) as parts,
        ):
            yield parts

    async def _settled(self, prepared: PreparedRun, events: AsyncIterator[StoredEvent]) -> Run:
        aggregate = prepared.aggregate
        folder, loop, patience = CheckedFolder(), asyncio.get_running_loop(), asyncio.timeout(None)
        watch = QueueWatch(self._sessions, folder.run, private=prepared.event.private_session)
        try:
            async with patience:
                with watch.telling(lambda: patience.reschedule(loop.time())):
                    async for event in events:
                        folder.apply(event.envelope)
                        if folder.run.status in WAITING and await self._is_last(aggregate, event.index):
                            break
        except TimeoutError:
            if not patience.expired():
                raise
            if not watch.is_held():
                # It was let go in that very moment.
                async with aclosing(self._log.follow(aggregate)) as again:
                    return await self._settled(prepared, again)
        if any(content.HasField("stored") for content in contents(folder.run)):
            await self._values.resolve_all(folder.run)
        return folder.run

    async def _parts(
        self,
        aggregate: Aggregate,
        events: AsyncIterator[StoredEvent],
        deltas: AsyncIterator[Delta],
        *,
        after: int = -1,
        asked: PreparedRun | None = None,
    ) -> AsyncGenerator[Part, None]:
        tokens, folder = Tokens(), CheckedFolder()
        restart_first = after >= 0
        watch = QueueWatch(self._sessions, folder.run, private=asked is None or asked.event.private_session)
        async with aclosing(_merged(events, deltas, watch)) as merged:
            async for item in merged:
                if isinstance(item, Delta):
                    index, told = folder.run.events, list[Part](tokens.delta(item))
                else:
                    index = item.index
                    envelope = await self._whole(item)
                    folder.apply(envelope)
                    told = _told(index, envelope, tokens, folder.run)
                if index <= after:
                    continue
                for part in told:
                    if restart_first and isinstance(part, Token):
                        yield Restart(part.path)
                        restart_first = False
                    yield part
                if asked is not None and folder.run.status in WAITING and await self._is_last(aggregate, index):
                    return

    async def _whole(self, event: StoredEvent) -> Envelope:
        """The envelope with its contents: a copy where they lie elsewhere, for others read the event too."""
        if not may_hold_stored(event.data):
            return event.envelope
        whole = Envelope()
        whole.CopyFrom(event.envelope)
        await self._values.resolve_all(whole)
        return whole

    async def _until_ended(self, prepared: PreparedRun, parts: AsyncIterator[Part]) -> AsyncGenerator[Part, None]:
        async for part in parts:
            if isinstance(part, Told) and part.run.status in TERMINAL:
                self._admission.ended(prepared)
            yield part

    async def _is_last(self, aggregate: Aggregate, index: int) -> bool:
        """Whether a run that is seen to wait waits still: what is read back may have gone on since."""
        tail = await self._log.tail(aggregate)
        return tail is None or tail.last.index <= index


def _told(index: int, envelope: Envelope, tokens: Tokens, run: Run) -> list[Part]:
    body = envelope.run
    told: list[Part] = [*tokens.event(body), Told(index, envelope, run)]
    if body.HasField("model_call_begun"):
        told += tokens.early(body.model_call_begun.path)
    return told


async def _merged(
    events: AsyncIterator[StoredEvent], deltas: AsyncIterator[Delta], watch: QueueWatch
) -> AsyncGenerator[StoredEvent | Delta, None]:
    """Both as they come, until the events end, or the watched run, kept up to date with each of them, is held up."""
    arrived: asyncio.Queue[StoredEvent | Delta | QueueWatch | None] = asyncio.Queue(_HELD_PARTS)

    async def take_events() -> None:
        try:
            async for event in events:
                await arrived.put(event)
        finally:
            await arrived.put(None)

    async def take_deltas() -> None:
        async for delta in deltas:
            await arrived.put(delta)

    takers = (asyncio.create_task(take_events()), asyncio.create_task(take_deltas()))
    try:
        with watch.telling(lambda: arrived.put_nowait(watch)):
            while (item := await arrived.get()) is not None:
                if not isinstance(item, QueueWatch):
                    yield item
                elif item.is_held():
                    return
        # Raises what kept the events from being read to their end.
        await takers[0]
    finally:
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
