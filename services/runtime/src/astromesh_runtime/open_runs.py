"""A run that has not ended, as its partition's owner holds it, and how it is taken up: fresh, or from its log."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_CHILD,
    SUSPENSION_REASON_VERSION,
    RunCancelled,
    RunClaimed,
    RunEvent,
    RunFailed,
    RunStarted,
    Suspended,
)
from astromesh.v1.signal_pb2 import Signal
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.errors import AstromeshError, Bug, Conflict, NotSupported, PermanentError
from astromesh_core.events.billing import Bill
from astromesh_core.events.chain import ChainHead, StoredEvent, build_commit, seal
from astromesh_core.events.contents import may_hold_stored, plain
from astromesh_core.events.runs import is_terminal
from astromesh_core.telemetry.metrics import Metrics
from astromesh_runtime.agents import Agents, AgentVersion, ToolsAway
from astromesh_runtime.child_calls import cancel_open
from astromesh_runtime.child_runs import Parent
from astromesh_runtime.engine import RunDriver
from astromesh_runtime.forked_runs import Pasts
from astromesh_runtime.handing_over import hand_off_tool
from astromesh_runtime.memories import is_found_again
from astromesh_runtime.metering import RunMeter
from astromesh_runtime.recorded import Recorded
from astromesh_runtime.saga import failure_of
from astromesh_runtime.scope import Clock, RunScope, Services

log = structlog.get_logger("astromesh.runtime")


@dataclass(slots=True, eq=False)
class OpenRun:
    """A run between its request and its end."""

    aggregate: Aggregate
    session_key: str
    position: Position
    """Of its request: orders the session's queue."""
    parent: Parent | None = None
    """Of a child: who is told when it ends."""
    fresh: StoredEvent | None = None
    """The request, where nothing else can be in the log yet."""
    signals: list[Signal] = field(default_factory=list[Signal])
    """Arrived and not yet turned into events."""
    driver: RunDriver | None = None
    task: asyncio.Task[None] | None = None
    parked: bool = False
    """It waits for a signal: nobody works on it."""
    detached: bool = False
    """It was taken out of its session's queue."""
    dropped: bool = False
    """Its partition belongs to another worker now."""
    ended_at: Position | None = None
    considered: list[Signal] = field(default_factory=list[Signal])
    """The signals that were there when it was taken up last: alone they are no reason to take it up again."""


@dataclass(frozen=True, slots=True)
class Over:
    """The log ends here already, or waits for a signal that has not come."""

    waiting: bool


@dataclass(slots=True)
class Opener:
    """Takes up runs for a worker: claims, reads and starts them."""

    bus: Bus
    agents: Agents
    services: Services
    worker: str
    clock: Clock
    metrics: Metrics
    epoch: Callable[[int], int]
    """The worker's epoch for a partition. Raises Conflict where another worker may act for it."""

    async def open(self, run: OpenRun, after: Position) -> RunScope | Over:
        """The run's scope, started; or why there is nothing to do. A run whose agent is not there fails, and is over.

        Raises Conflict where another worker appended first, TemporaryError where the bus or a service is away.
        """
        if run.fresh is not None:
            return await self._fresh(run, run.fresh, run.position, after)
        tail = await self.bus.log.tail(run.aggregate)
        if tail is None:
            return Over(waiting=False)
        if tail.last.index == 0:
            # Nobody worked on it: whoever appends `started` first has it.
            return await self._fresh(run, tail.last, tail.position, after)
        last = tail.last.envelope.run
        if is_terminal(last):
            run.ended_at = tail.position
            return Over(waiting=False)
        if last.HasField("suspended") and not run.signals and await self._waits(run.aggregate, last.suspended):
            return Over(waiting=True)
        claimed = await self._claim(run.aggregate, (tail.position, tail.head))
        stored = await self.bus.log.read(run.aggregate, at_least=claimed)
        at = (stored.position, stored.events[-1].head())
        try:
            envelopes = [await self._resolved(event) for event in stored.events]
            scope = await self._scope(run, Recorded.of(envelopes), at, after)
        except NotSupported as error:
            return await self._needs_version(run, stored.events, self._writer(run.aggregate, at), error)
        if isinstance(scope, RunScope):
            scope.writer.bytes_recorded = sum(len(event.data) for event in stored.events)
            if scope.requested.HasField("fork"):
                await self._pasts().complete(scope, envelopes)
        return scope

    async def _waits(self, aggregate: Aggregate, suspended: Suspended) -> bool:
        """Whether only a signal can wake the run: a child may have ended while nobody looked."""
        if suspended.reason != SUSPENSION_REASON_CHILD:
            return suspended.reason != SUSPENSION_REASON_VERSION
        children = self.services.children
        ends = [await children.end_of(aggregate.namespace, child) for child in suspended.child_run_ids]
        return not any(ends)

    async def _fresh(self, run: OpenRun, request: StoredEvent, position: Position, after: Position) -> RunScope | Over:
        recorded = Recorded.of([await self._resolved(request)])
        return await self._scope(run, recorded, (position, request.head()), after)

    async def _claim(self, aggregate: Aggregate, at: tuple[Position, ChainHead]) -> Position:
        """From here on the previous worker's appends fail. Raises AppendConflict where it was quicker."""
        position, head = at
        envelope = Envelope(
            event_id=secrets.token_hex(16),
            aggregate_type=aggregate.type,
            aggregate_id=aggregate.id,
            time_unix_nano=self.clock(),
            producer=self.worker,
            namespace=aggregate.namespace,
            run=RunEvent(claimed=RunClaimed(worker=self.worker, epoch=self.epoch(aggregate.partition))),
        )
        data, _ = seal(envelope, head)
        return await self.bus.log.append(aggregate.log, aggregate, build_commit([data]), position)

    async def _resolved(self, event: StoredEvent) -> Envelope:
        """The envelope with its contents fetched: a copy where there is anything to fetch, so the bytes stay true."""
        if not may_hold_stored(event.data):
            return event.envelope
        envelope = Envelope()
        envelope.CopyFrom(event.envelope)
        await self.bus.values.resolve_all(envelope)
        return envelope

    async def _scope(
        self, run: OpenRun, recorded: Recorded, at: tuple[Position, ChainHead], after: Position
    ) -> RunScope | Over:
        aggregate = run.aggregate
        epoch = self.epoch(aggregate.partition)
        writer = self._writer(aggregate, at)
        writer.on_stored = RunMeter(self.metrics, recorded.requested.agent, recorded.requested_unix_nano, recorded)
        try:
            agent = await self._agent(aggregate.namespace, recorded)
        except Conflict:
            raise
        except (PermanentError, ToolsAway) as error:
            if recorded.started is not None and isinstance(error, NotSupported):
                raise
            run.ended_at = await self._fail(writer, error, recorded.bill)
            return Over(waiting=False)
        scope = RunScope(
            traceparent=recorded.traceparent,
            namespace=aggregate.namespace,
            run_id=aggregate.id,
            agent=agent,
            writer=writer,
            recorded=recorded,
            services=self.services,
            clock=self.clock,
            epoch=epoch,
            after_position=after.encode(),
        )
        if recorded.started is not None:
            return scope
        started = self._started(scope)
        if recorded.requested.HasField("fork"):
            return await self._with_past(run, scope, started)
        scope.record(RunEvent(started=started))
        recorded.started = started
        return scope

    async def _with_past(self, run: OpenRun, scope: RunScope, started: RunStarted) -> RunScope | Over:
        """The scope of a fork, whose log begins with what it shares. One whose past is not there fails, and is over."""
        try:
            await self._pasts().begin(scope, started)
        except Conflict:
            raise
        except PermanentError as error:
            run.ended_at = await self._fail(scope.writer, error, scope.recorded.bill)
            return Over(waiting=False)
        return scope

    def _pasts(self) -> Pasts:
        return Pasts(self.bus.log, self._resolved)

    async def _needs_version(
        self, run: OpenRun, events: Sequence[StoredEvent], writer: AggregateWriter, error: NotSupported
    ) -> Over:
        """A run that only another release can read waits for it, and can be cancelled; it never fails for that."""
        cancel = next((signal for signal in run.signals if signal.HasField("cancel")), None)
        if cancel is not None:
            await self._note_open_calls(run.aggregate, writer, events)
            usage, left = _bill(events).closing(seen=len(plain(cancel.cancel.seen)))
            cancelled = RunCancelled(
                principal=cancel.principal,
                reason=cancel.cancel.reason,
                partial_answer=cancel.cancel.seen,
                usage=usage,
                lost_usage=left.estimate,
                partial_charges=left.charges,
            )
            await writer.stored(writer.record(RunEvent(cancelled=cancelled), signal_id=cancel.id))
            run.ended_at = writer.position
            return Over(waiting=False)
        lives = (event.envelope.run for event in reversed(events) if not event.envelope.run.HasField("claimed"))
        if not next(lives).HasField("suspended"):
            suspended = Suspended(reason=SUSPENSION_REASON_VERSION, detail=error.message)
            await writer.stored(writer.record(RunEvent(suspended=suspended)))
        return Over(waiting=True)

    async def tell_parent(self, run: OpenRun) -> None:
        """Tells who waits for the run that it has ended. Idempotent; raises like `Signals.send`."""
        if run.parent is not None:
            await self.services.children.tell(run.aggregate.namespace, run.parent, run.aggregate.id)

    async def is_over(self, aggregate: Aggregate) -> bool:
        """True where the run has ended, or never was."""
        tail = await self.bus.log.tail(aggregate)
        return tail is None or is_terminal(tail.last.envelope.run)

    async def bury(self, aggregate: Aggregate, error: AstromeshError) -> Position:
        """Ends a run that cannot be driven, with this error; answers where its log ends. Raises like `open`."""
        self.epoch(aggregate.partition)
        tail = await self.bus.log.tail(aggregate)
        if tail is None or is_terminal(tail.last.envelope.run):
            return tail.position if tail is not None else Position.START
        writer, bill = self._writer(aggregate, (tail.position, tail.head)), Bill()
        try:
            events = (await self.bus.log.read(aggregate, at_least=tail.position)).events
            bill = _bill(events)
            await self._note_open_calls(aggregate, writer, events)
        except Bug as unreadable:
            # Nobody can tell what its log holds, and its session must go on.
            log.error("a run ends with a log that cannot be read", run_id=aggregate.id, reason=unreadable.message)
        return await self._fail(writer, error, bill)

    async def _note_open_calls(
        self, aggregate: Aggregate, writer: AggregateWriter, events: Sequence[StoredEvent]
    ) -> None:
        """Before the end of a run that cannot be driven: nobody knows what its cut writes did, and its children end."""
        recorded = Recorded.of_tools(event.envelope for event in events)
        for unknown in recorded.cut_writes():
            writer.record(unknown)
        if recorded.children:
            requested = events[0].envelope.run.requested
            await cancel_open(self.services.children, aggregate.namespace, requested.principal, recorded)

    async def _fail(self, writer: AggregateWriter, error: AstromeshError, bill: Bill) -> Position:
        usage, left = bill.closing()
        failed = RunFailed(
            failure=failure_of(error),
            usage=usage,
            imposed=True,
            lost_usage=left.estimate,
            partial_charges=left.charges,
        )
        await writer.stored(writer.record(RunEvent(failed=failed)))
        return writer.position

    def _writer(self, aggregate: Aggregate, at: tuple[Position, ChainHead]) -> AggregateWriter:
        return AggregateWriter(
            self.bus.log,
            self.bus.values,
            aggregate,
            position=at[0],
            head=at[1],
            producer=self.worker,
            clock=self.clock,
        )

    async def _agent(self, namespace: str, recorded: Recorded) -> AgentVersion:
        started = recorded.started
        if started is None and recorded.requested.HasField("fork"):
            return await self.agents.beginning(recorded.requested.fork.agent)
        if started is None:
            version = await self.agents.current(namespace, recorded.requested.agent)
            handoffs = recorded.requested.lineage.handoffs
            return version.with_tool(hand_off_tool(handoffs)) if handoffs else version
        version = await self.agents.by_ref(started.agent)
        # The catalogue is the one that the run began with, whatever the tools service offers by now.
        return replace(version, tools=tuple(started.tools), tools_sha256=started.tools_sha256)

    def _started(self, scope: RunScope) -> RunStarted:
        agent, now = scope.agent, scope.clock()
        own = now + int(agent.timeout_seconds * 1e9) if agent.timeout_seconds else 0
        deadline = min(filter(None, (own, scope.requested.lineage.deadline_unix_nano)), default=0)
        return RunStarted(
            worker=self.worker,
            epoch=scope.epoch,
            pattern=agent.pattern,
            pattern_version=agent.pattern_version,
            agent=agent.ref,
            pattern_options_json=agent.pattern_options_json,
            max_iterations=agent.max_iterations,
            deadline_unix_nano=deadline,
            tools=agent.tools,
            tools_sha256=agent.tools_sha256,
            checks_input=agent.checks_input,
            checks_output=agent.checks_output,
            remembers=agent.remembers and scope.requested.uses_memory,
            remembers_tools=agent.conversational,
            output_schema_json=scope.requested.output_schema_json or agent.output_schema_json,
            checks_tool_arguments=agent.guards.checks_tool_arguments,
            checks_tool_results=agent.guards.checks_tool_results,
            data_boundary=secrets.token_hex(8) if agent.guards.marks_data else "",
            streams_checked=agent.guards.streams_checked,
            masks=agent.guards.masks,
            unmasked_tools=agent.guards.unmasked_tools,
            semantic=is_found_again(agent.semantic, scope.requested),
            episodic=is_found_again(agent.episodic, scope.requested),
        )


def _bill(events: Sequence[StoredEvent]) -> Bill:
    return Bill.of(event.envelope.run for event in events)
