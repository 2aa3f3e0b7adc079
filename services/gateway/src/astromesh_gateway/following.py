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
from astromesh.v1.signal_pb2 import Delta, ToolProgress
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.bus.tool_progress import ToolProgresses
from astromesh_core.errors import PolicyRefused
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import may_hold_stored
from astromesh_core.events.runs import TERMINAL, RunFolder
from astromesh_gateway.admission import Admission, PreparedRun
from astromesh_gateway.offspring import ChildEvent, Offspring
from astromesh_gateway.replies import contents
from astromesh_gateway.tokens import Restart, Thought, Token, Tokens
from astromesh_gateway.tools_under_way import ToolsUnderWay
from astromesh_gateway.waiting import ChildWatch, QueueWatch, Sessions, waits_outside

_HELD_PARTS = 1_000


@dataclass(frozen=True, slots=True)
class Told:
    """A stored event, its contents fetched, and the run after it (the same object for every part of a run)."""

    index: int
    envelope: Envelope
    run: Run


@dataclass(frozen=True, slots=True)
class ToldOfChild:
    """A stored event of a child of the run, its contents fetched, and the child after it."""

    envelope: Envelope
    run: Run


Part = Token | Thought | Restart | Told | ToldOfChild | ToolProgress


_TO_BE_CHECKED = frozenset({"tool_succeeded", "tool_failed", "child_finished"})
"""Events of what an agent's rules for results have yet to look at."""


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
        elif self._checks_results and kind in _TO_BE_CHECKED:
            step = self.step(getattr(envelope.run, kind).path)
            step.ClearField("output")
            step.ClearField("whole")
            if step.HasField("failure") and step.failure.error_class != PolicyRefused.code:
                step.failure.ClearField("message")


class Following:
    """Admits runs and follows them."""

    def __init__(self, bus: Bus, admission: Admission, sessions: Sessions) -> None:
        self._log = bus.log
        self._sessions = sessions
        self._deltas = bus.deltas
        self._tool_progress = bus.tool_progress
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
        below = ChildWatch(self._log, folder.run)

        def told() -> None:
            patience.reschedule(loop.time())

        try:
            async with patience:
                with watch.telling(told), below.telling(told):
                    async for event in events:
                        folder.apply(event.envelope)
                        below.look()
                        if waits_outside(folder.run) and await self._is_last(aggregate, event.index):
                            break
        except TimeoutError:
            if not patience.expired():
                raise
            if not below.held and not watch.is_held():
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
        below = ChildWatch(self._log, folder.run)
        merged = _Merged(self._log, self._tool_progress, aggregate, watch, below)
        children = dict[str, CheckedFolder]()
        async with aclosing(merged.items(events, deltas)) as items:
            async for item in items:
                if isinstance(item, ToolProgress):
                    index, told = folder.run.events, list[Part]((item,))
                elif isinstance(item, Delta):
                    index, told = folder.run.events, list[Part](tokens.delta(item))
                elif isinstance(item, ChildEvent):
                    index = folder.run.events
                    told = await self._told_of_child(item, children.setdefault(item.run_id, CheckedFolder()))
                else:
                    index = item.index
                    envelope = await self._whole(item)
                    folder.apply(envelope)
                    below.look()
                    merged.take(envelope, told=index > after)
                    told = _told(index, envelope, tokens, folder.run)
                if index <= after:
                    continue
                for part in told:
                    if restart_first and isinstance(part, Token):
                        yield Restart(part.path)
                        restart_first = False
                    yield part
                if asked is not None and waits_outside(folder.run) and await self._is_last(aggregate, index):
                    return

    async def _told_of_child(self, item: ChildEvent, folder: CheckedFolder) -> list[Part]:
        envelope = await self._whole(item.event)
        folder.apply(envelope)
        # How it ended is told by the event of its parent, which holds the answer.
        return [] if folder.run.status in TERMINAL else [ToldOfChild(envelope, folder.run)]

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


_Item = StoredEvent | Delta | ToolProgress | ChildEvent


class _Merged:
    """Events, deltas and children's events as they come, until the run's own end or it is held up."""

    def __init__(
        self,
        log: EventLog,
        progress: ToolProgresses,
        aggregate: Aggregate,
        watch: QueueWatch,
        below: ChildWatch,
    ) -> None:
        """The watches are of the run, which is kept up to date with each item."""
        self._arrived: asyncio.Queue[_Item | QueueWatch | ChildWatch | None] = asyncio.Queue(_HELD_PARTS)
        self._tools = ToolsUnderWay(progress, aggregate.namespace, aggregate.id, self._arrived.put)
        self._watch = watch
        self._below = below
        self._offspring = Offspring(log, aggregate.namespace, self._arrived.put)

    def take(self, envelope: Envelope, *, told: bool) -> None:
        """An event of the run has come: a child that it starts is followed too, and so are tools of servers."""
        self._tools.take(envelope)
        if told:
            self._offspring.follow(envelope)
        else:
            self._offspring.note(envelope)

    async def items(
        self, events: AsyncIterator[StoredEvent], deltas: AsyncIterator[Delta]
    ) -> AsyncGenerator[_Item, None]:
        """All of them. Raises what kept the events from being read to their end."""
        arrived = self._arrived
        takers = (asyncio.create_task(self._take_events(events)), asyncio.create_task(self._take_deltas(deltas)))
        try:
            with (
                self._watch.telling(lambda: arrived.put_nowait(self._watch)),
                self._below.telling(lambda: arrived.put_nowait(self._below)),
            ):
                while (item := await arrived.get()) is not None:
                    if isinstance(item, ChildWatch):
                        return
                    if not isinstance(item, QueueWatch):
                        yield item
                    elif item.is_held():
                        return
            await takers[0]
        finally:
            for taker in takers:
                taker.cancel()
            await asyncio.gather(*takers, return_exceptions=True)
            await self._offspring.close()
            await self._tools.close()

    async def _take_events(self, events: AsyncIterator[StoredEvent]) -> None:
        try:
            async for event in events:
                await self._arrived.put(event)
        finally:
            await self._arrived.put(None)

    async def _take_deltas(self, deltas: AsyncIterator[Delta]) -> None:
        async for delta in deltas:
            await self._arrived.put(delta)
