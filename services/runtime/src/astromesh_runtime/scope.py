"""What belongs to one run while a worker drives it: its log, what that holds, its agent, the services it calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from astromesh.v1.run_events_pb2 import RunEvent, RunRequested, ToolSucceeded
from astromesh.v1.signal_pb2 import Delta
from astromesh.v1.tools_pb2 import CutResult
from astromesh.v1.values_pb2 import StoredValue, Timing, ToolSpec
from astromesh_core.bus.writer import AggregateWriter
from astromesh_core.errors import AstromeshError, LimitExceeded
from astromesh_core.events.billing import Bill
from astromesh_core.events.canonical import KeyedDigest
from astromesh_runtime.agents import AgentVersion
from astromesh_runtime.recorded import Recorded, digester_of

if TYPE_CHECKING:
    from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceAsyncStub
    from astromesh.v1.memory_pb2_grpc import MemoryServiceAsyncStub
    from astromesh.v1.rag_pb2_grpc import RagServiceAsyncStub
    from astromesh.v1.router_pb2_grpc import RouterServiceAsyncStub
    from astromesh.v1.tools_pb2_grpc import ToolsServiceAsyncStub
    from astromesh_core.bus.signals import Signals
    from astromesh_runtime.child_runs import ChildRuns

Clock = Callable[[], int]
"""Unix time in nanoseconds."""


class LogLost(Exception):
    """The run's log takes no more from this worker: another one took the run over, or the store refuses.

    No error of the run: nothing may be recorded for it. The cause says which.
    """

    def __init__(self, cause: AstromeshError) -> None:
        super().__init__(cause.message)
        self.error = cause


@dataclass(frozen=True, slots=True)
class Services:
    """The stubs that a run calls, where its tokens go, where its children are, and what wakes it at a set time."""

    router: RouterServiceAsyncStub
    tools: ToolsServiceAsyncStub
    guardrails: GuardrailsServiceAsyncStub
    memory: MemoryServiceAsyncStub
    rag: RagServiceAsyncStub
    publish_delta: Callable[[str, Delta], None]
    children: ChildRuns
    timers: Signals


@dataclass(slots=True)
class RunScope:
    """One run under one worker. Everything that is recorded goes through `record`, in the order of the calls."""

    namespace: str
    run_id: str
    agent: AgentVersion
    writer: AggregateWriter
    recorded: Recorded
    services: Services
    clock: Clock
    epoch: int
    after_position: bytes = b""
    """Memory must have applied the log up to here before the context is assembled."""
    traceparent: str = ""
    seen: list[str] = field(default_factory=list[str])
    """What the user has read of the reply under way, in pieces: there are thousands."""
    cut: dict[str, StoredValue] = field(default_factory=dict[str, StoredValue])
    """The whole of results that were cut while this worker drives the run, by path."""
    cancelling: bool = False
    masking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while tokens are made: parts of a run that go on side by side give no token twice."""
    admissions: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    """Of children, begun by this worker."""

    @property
    def requested(self) -> RunRequested:
        """The request as stored."""
        return self.recorded.requested

    @property
    def bill(self) -> Bill:
        """Of everything recorded, by this worker and those before it."""
        return self.recorded.bill

    @property
    def digester(self) -> KeyedDigest:
        """Makes the run's digests of personal content."""
        return digester_of(self.requested)

    def record(self, event: RunEvent, *, signal_id: str = "") -> int:
        """Puts an event into the next commit; answers its index. It is stored when `stored(index)` returns."""
        try:
            index = self.writer.record(event, traceparent=self.traceparent, signal_id=signal_id)
        except LimitExceeded:
            raise
        except AstromeshError as error:
            raise LogLost(error) from error
        self.bill.add(event)
        return index

    async def stored(self, index: int) -> None:
        """Returns when the event at the index is stored. Raises LogLost."""
        await self.settled(self.storing(index))

    async def flushed(self) -> None:
        """Returns when everything recorded is stored. Raises LogLost."""
        await self.stored(self.writer.next_index - 1)

    def storing(self, index: int) -> asyncio.Future[None]:
        """Starts storing up to the index, to be `settled` before anything is told of what depends on it."""
        return self.writer.storing(index)

    async def settled(self, storing: asyncio.Future[None]) -> None:
        """Returns when that is stored. Raises LogLost."""
        try:
            await storing
        except AstromeshError as error:
            raise LogLost(error) from error

    def timing(self, start: int) -> Timing:
        """From `start` until now."""
        return Timing(start_unix_nano=start, duration_nano=self.clock() - start)

    def tool(self, name: str) -> ToolSpec | None:
        """The tool of this name in the agent's catalogue."""
        return next((tool for tool in self.agent.tools if tool.name == name), None)

    def spent(self) -> tuple[int, int]:
        """What the run and its children have cost so far: nanodollars, and tokens."""
        usage, children = self.bill.usage, self.recorded.spent
        tokens = usage.input_tokens + usage.output_tokens + children.tokens
        return self.bill.cost_nanos + children.cost_nanos, tokens

    def deadline(self) -> int:
        """When the run's time is up, as it stands: nanoseconds since 1970; 0: never."""
        started = self.recorded.started
        if started is None or not started.deadline_unix_nano:
            return 0
        return started.deadline_unix_nano + self.recorded.waited_nano

    def cut_results(self) -> list[CutResult]:
        """What of this run's results was cut, for a tool that reads on in them."""
        before = {
            path: outcome.result.whole
            for path, outcome in self.recorded.outcomes.items()
            if isinstance(outcome, ToolSucceeded) and outcome.result.HasField("whole")
        }
        return [CutResult(path=path, whole=whole) for path, whole in {**before, **self.cut}.items()]

    def seconds_left(self) -> float | None:
        """Until the run's deadline, less what it spent waiting; None where it has none."""
        deadline = self.deadline()
        return (deadline - self.clock()) / 1e9 if deadline else None
