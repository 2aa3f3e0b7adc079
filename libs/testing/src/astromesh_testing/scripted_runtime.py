"""A runtime without an engine: it takes admitted runs and appends the events that a script says, deltas in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from astromesh.v1.run_events_pb2 import (
    SUSPENSION_REASON_UNKNOWN,
    ModelCallBegun,
    ModelReplied,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunRequested,
    RunStarted,
    Suspended,
    ToolFailed,
    ToolIntended,
    ToolOutcomeUnknown,
    ToolSucceeded,
)
from astromesh.v1.session_events_pb2 import SessionCleared, SessionEvent, SessionFeedback
from astromesh.v1.signal_pb2 import Delta, Signal
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, Charge, Failure, Message, ToolCall, ToolResult, Usage
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.intake import Intake, Reached, RunRequest
from astromesh_core.bus.positions import Position
from astromesh_core.bus.subjects import Aggregate, session_aggregate
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.events.chain import GENESIS, StoredEvent
from astromesh_core.events.contents import text_content
from astromesh_core.events.identity import PARTITIONS


class ScriptedRun:
    """One run in a script's hands: each method appends an event, or tells a piece of text."""

    def __init__(self, bus: Bus, aggregate: Aggregate, requested: StoredEvent, position: Position) -> None:
        self._bus = bus
        self.aggregate = aggregate
        self.requested: RunRequested = requested.envelope.run.requested
        self.signals: asyncio.Queue[Signal] = asyncio.Queue()
        self._writer = AggregateWriter(
            bus.log, bus.values, aggregate, position, requested.head(), "scripted", time.time_ns
        )
        self._attempts: dict[str, int] = {}

    async def append(self, *events: RunEvent, signal_id: str = "") -> None:
        """Stores events of the script's own in one commit."""
        for event in events:
            self._writer.record(event, signal_id=signal_id)
        await self._writer.flush()

    async def start(self, *, checks_output: bool = False) -> None:
        """started; with the schema that was asked for."""
        schema = self.requested.output_schema_json
        started = RunStarted(pattern="react", checks_output=checks_output, output_schema_json=schema)
        await self.append(RunEvent(started=started))

    async def begin(self, path: str, reason: str = "") -> None:
        """model call begun: another attempt, where there was one."""
        self._attempts[path] = self._attempts.get(path, 0) + 1
        begun = ModelCallBegun(path=path, role="default", reason=reason)
        await self.append(RunEvent(model_call_begun=begun))

    def tell(self, path: str, text: str, offset: int) -> None:
        """A delta."""
        attempt = self._attempts.get(path, 1)
        delta = Delta(run_id=self.aggregate.id, path=path, epoch=1, attempt=attempt, offset=offset, text=text)
        self._bus.deltas.publish(self.aggregate.namespace, delta)

    def think(self, path: str, thought: str) -> None:
        """A delta of thinking."""
        attempt = self._attempts.get(path, 1)
        delta = Delta(run_id=self.aggregate.id, path=path, epoch=1, attempt=attempt, thought=thought)
        self._bus.deltas.publish(self.aggregate.namespace, delta)

    async def reply(
        self, path: str, text: str, *calls: ToolCall, thought: str = "", finish_reason: str = "stop"
    ) -> None:
        """model replied."""
        message = Message(role=ROLE_ASSISTANT, content=text_content(text), tool_calls=calls)
        if thought:
            message.reasoning.add(text=text_content(thought))
        charge = Charge(provider="fake", model="fake-1", usage=Usage(input_tokens=10, output_tokens=5))
        replied = ModelReplied(path=path, message=message, charge=charge, finish_reason=finish_reason)
        await self.append(RunEvent(model_replied=replied))

    async def call(self, path: str, name: str = "add", arguments: str = '{"a": 1}') -> None:
        """tool intended."""
        call = ToolCall(id=f"call_{path}", name=name, arguments=text_content(arguments))
        await self.append(RunEvent(tool_intended=ToolIntended(path=path, call=call, attempt=1)))

    async def returned(self, path: str, output: str, name: str = "add") -> None:
        """tool succeeded."""
        result = ToolResult(tool_call_id=f"call_{path}", name=name, output=text_content(output))
        await self.append(RunEvent(tool_succeeded=ToolSucceeded(path=path, result=result)))

    async def broke(self, path: str, message: str) -> None:
        """tool failed."""
        failure = Failure(error_class="unavailable", message=text_content(message))
        await self.append(RunEvent(tool_failed=ToolFailed(path=path, failure=failure)))

    async def lost(self, path: str) -> None:
        """tool outcome unknown, and the run waits for a human."""
        await self.append(
            RunEvent(tool_outcome_unknown=ToolOutcomeUnknown(path=path, reason="crash")),
            RunEvent(suspended=Suspended(reason=SUSPENSION_REASON_UNKNOWN, path=path)),
        )

    async def complete(self, answer: str) -> None:
        """completed."""
        usage = Usage(input_tokens=10, output_tokens=5)
        await self.append(RunEvent(completed=RunCompleted(answer=text_content(answer), usage=usage)))

    async def fail(self, error_class: str, message: str) -> None:
        """failed."""
        failure = Failure(error_class=error_class, message=text_content(message))
        await self.append(RunEvent(failed=RunFailed(failure=failure)))

    async def cancelled_by(self, signal: Signal) -> None:
        """cancelled, because of the signal."""
        body = RunCancelled(principal=signal.principal, reason=signal.cancel.reason, partial_answer=signal.cancel.seen)
        await self.append(RunEvent(cancelled=body), signal_id=signal.id)


Script = Callable[[ScriptedRun], Awaitable[None]]


async def answers(run: ScriptedRun) -> None:
    """The events of a one-tool run that answers "it is 2"."""
    await run.start()
    await run.begin("1")
    await run.reply("1", "", ToolCall(id="call_2.1", name="add", arguments=text_content('{"a": 1}')))
    await run.call("2.1")
    await run.returned("2.1", "2")
    await run.begin("3")
    run.tell("3", "it is", 0)
    run.tell("3", " 2", 5)
    await run.reply("3", "it is 2")
    await run.complete("it is 2")


class ScriptedRuntime:
    """Plays `script` with every admitted run; clears sessions and takes feedback as it is asked to."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.script: Script = answers
        self.runs: dict[str, ScriptedRun] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._taken: asyncio.Queue[ScriptedRun] = asyncio.Queue()

    async def next_run(self) -> ScriptedRun:
        """The next run in order of admission, when it is taken."""
        return await self._taken.get()

    async def take(self, intake: Intake) -> None:
        """Takes runs and signals as they arrive, until cancelled."""
        async for arrival in intake:
            if isinstance(arrival, RunRequest):
                run = ScriptedRun(self._bus, arrival.aggregate, arrival.event, arrival.position)
                self.runs[run.aggregate.id] = run
                self._taken.put_nowait(run)
                self.spawn(self.script(run))
            elif arrival.signal.HasField("clear_session"):
                cleared = SessionCleared(agent=arrival.signal.clear_session.agent, principal=arrival.signal.principal)
                self.spawn(self._write(arrival.signal, SessionEvent(cleared=cleared)))
            elif arrival.signal.HasField("feedback"):
                said = arrival.signal.feedback
                feedback = SessionFeedback(
                    agent=said.agent, principal=arrival.signal.principal, run_id=said.run_id, rating=said.rating
                )
                feedback.comment.CopyFrom(said.comment)
                self.spawn(self._write(arrival.signal, SessionEvent(feedback=feedback)))
            else:
                self.runs[arrival.aggregate.id].signals.put_nowait(arrival.signal)

    async def _write(self, signal: Signal, event: SessionEvent) -> None:
        aggregate = session_aggregate(signal.namespace, signal.aggregate_id)
        tail = await self._bus.log.tail(aggregate)
        position, head = (tail.position, tail.head) if tail else (Position.START, GENESIS)
        writer = AggregateWriter(self._bus.log, self._bus.values, aggregate, position, head, "scripted", time.time_ns)
        writer.record(event, signal_id=signal.id)
        await writer.flush()

    def spawn(self, work: Awaitable[None]) -> None:
        """Does something beside what arrives."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@asynccontextmanager
async def scripted_runtime(bus: Bus) -> AsyncGenerator[ScriptedRuntime]:
    """A runtime that takes what is admitted, within the block."""
    runtime = ScriptedRuntime(bus)
    async with Intake(bus) as intake:
        await intake.follow({partition: Reached() for partition in range(PARTITIONS)})
        runtime.spawn(runtime.take(intake))
        try:
            yield runtime
        finally:
            for task in runtime.tasks:
                task.cancel()
            await asyncio.gather(*runtime.tasks, return_exceptions=True)
