"""Runs that exist: looked up in the log, which is always current, and in history where the log no longer has them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.history_pb2 import HistoryServiceListRunsRequest, ListEventsRequest
from astromesh.v1.runs_pb2 import (
    RUN_STATUS_NEEDS_HUMAN,
    RUN_STATUS_QUEUED,
    STEP_KIND_TOOL,
    STEP_STATUS_UNKNOWN,
    Run,
    RunFilter,
    Step,
)
from astromesh.v1.runtime_pb2 import ReplayRunRequest, ReplayRunResponse
from astromesh.v1.signal_pb2 import CancelSignal, ResolvedOutcome, ResolveSignal, Signal
from astromesh.v1.values_pb2 import Content
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import Conflict, NotFound, TimedOut
from astromesh_core.events.chain import ChainVerdict, StoredEvent, verify_chain
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.human_steps import WAITS_FOR_COMPENSATION
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL, RunFolder, is_terminal
from astromesh_core.rpc.identity import Caller
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.following import CheckedFolder
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.waiting import Sessions, holder_name

REPLAY_SECONDS = 120.0
EFFECT_SECONDS = 5.0
"""How long a caller waits for a signal to show in the log."""

_PAGE = 1_000


class StoredRuns:
    """One caller's view: runs of its namespace."""

    def __init__(self, gateway: Gateway, caller: Caller) -> None:
        self._gateway = gateway
        self._caller = caller

    async def events(self, run_id: str) -> list[StoredEvent]:
        """Every event, as stored. Raises NotFound, InvalidInput for what is no run id."""
        stored = await self._gateway.bus.log.read(run_aggregate(self._caller.namespace, run_id))
        events = stored.events or await self._archived(run_id)
        if not events:
            raise NotFound(f"there is no run {run_id} in namespace {self._caller.namespace!r}")
        return events

    async def run(self, run_id: str) -> Run:
        """The run as it stands now, its contents fetched; a queued one says which run it waits for.

        Raises like `events`.
        """
        folder = CheckedFolder()
        for event in await self.events(run_id):
            folder.apply(event.envelope)
        if folder.run.status == RUN_STATUS_QUEUED:
            sessions = Sessions(self._gateway.bus.log, self._gateway.services.history)
            folder.run.waiting_for = holder_name(await sessions.holder(folder.run))
        await self._gateway.bus.values.resolve_all(folder.run)
        return folder.run

    async def result(self, run_id: str, path: str) -> tuple[Step, str]:
        """A tool's step, and what it answered: all of it, where a model read only the beginning.

        Raises NotFound where no tool has answered at the path.
        """
        run = await self.run(run_id)
        step = next((step for step in run.steps if step.path == path and step.kind == STEP_KIND_TOOL), None)
        if step is None or not step.HasField("output"):
            raise NotFound(f"no tool has answered at {path[:80]!r} of run {run_id}")
        if not step.HasField("whole"):
            return step, plain(step.output)
        return step, plain(Content.FromString(await self._gateway.bus.values.get(step.whole)))

    async def last_index(self, run_id: str) -> tuple[int, bool]:
        """The index of the run's last event, and whether the run has ended. Raises NotFound."""
        tail = await self._gateway.bus.log.tail(run_aggregate(self._caller.namespace, run_id))
        last = tail.last if tail is not None else (await self.events(run_id))[-1]
        return last.index, _ends(last)

    async def list(self, wanted: RunFilter, page_size: int, page_token: str) -> tuple[list[Run], str]:
        """A page of runs, newest first, and the token of the next one. It may lag the log by milliseconds."""
        request = HistoryServiceListRunsRequest(
            namespace=self._caller.namespace, filter=wanted, page_size=page_size, page_token=page_token
        )
        response = await self._gateway.services.history.ListRuns(request)
        for run in response.runs:
            await self._gateway.bus.values.resolve_all(run)
        return list(response.runs), response.next_page_token

    async def verify(self, run_id: str) -> ChainVerdict:
        """Checks sequence and hash chain over the stored bytes."""
        return verify_chain(event.data for event in await self.events(run_id))

    async def replay(self, run_id: str) -> ReplayRunResponse:
        """Re-executes the run from its recorded outcomes."""
        request = ReplayRunRequest(namespace=self._caller.namespace, run_id=run_id)
        return await self._gateway.services.runtime.ReplayRun(request, timeout=REPLAY_SECONDS)

    async def cancel(self, run_id: str, reason: str) -> Run:
        """Asks the run's owner to cancel it; answers the run once it has ended, or as it stands after five seconds.

        A run that has ended already answers as it is. Raises NotFound.
        """
        run = await self.run(run_id)
        if run.status in TERMINAL:
            return run
        signal = self.signal(run_id)
        signal.cancel.CopyFrom(CancelSignal(reason=reason or "cancelled by request"))
        return await self._sent(signal, run, _has_ended)

    async def resolve(self, run_id: str, path: str, outcome: ResolvedOutcome.ValueType, result: str) -> Run:
        """Settles a step whose outcome is unknown, or that could not be undone; answers the run once the log shows it,
        or after five seconds.

        Raises NotFound, Conflict where nothing is to be settled at this path.
        """
        run = await self.run(run_id)
        if run.status in TERMINAL or not is_unsettled(run, path):
            state = STATUS_NAMES[run.status]
            raise Conflict(
                f"run {run_id} ({state}) has no step {path[:80]!r} whose outcome is unknown, or that is stuck"
            )
        signal = self.signal(run_id)
        signal.resolve.CopyFrom(ResolveSignal(path=path, outcome=outcome, result=text_content(result)))
        return await self._sent(signal, run, _goes_on)

    def signal(self, run_id: str) -> Signal:
        """A new signal to a run on behalf of the caller, without its body."""
        return Signal(
            id=secrets.token_hex(16),
            aggregate_id=run_id,
            time_unix_nano=time.time_ns(),
            principal=self._caller.principal,
            traceparent=current_traceparent(),
        )

    async def _sent(self, signal: Signal, before: Run, settled: Callable[[Run], bool]) -> Run:
        """Sends the signal and follows the run until an event bears its id and it is settled, or ended by itself."""
        aggregate = run_aggregate(self._caller.namespace, signal.aggregate_id)
        async with aclosing(self._gateway.bus.log.follow(aggregate)) as events:
            await self._gateway.bus.signals.send(self._caller.namespace, signal)
            try:
                folder = await _until_settled(events, signal.id, settled)
            except TimedOut:
                return before
        await self._gateway.bus.values.resolve_all(folder.run)
        return folder.run

    async def _archived(self, run_id: str) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        while True:
            request = ListEventsRequest(
                namespace=self._caller.namespace, run_id=run_id, from_index=len(found), page_size=_PAGE
            )
            page = (await self._gateway.services.history.ListEvents(request)).envelopes
            if not page:
                return found
            found += (StoredEvent(Envelope.FromString(data), data) for data in page)


async def _until_settled(
    events: AsyncIterator[StoredEvent], signal_id: str, settled: Callable[[Run], bool]
) -> RunFolder:
    """The run once the signal shows in it, and it is settled."""
    folder = CheckedFolder()
    shown = False
    try:
        async with asyncio.timeout(EFFECT_SECONDS):
            async for event in events:
                folder.apply(event.envelope)
                shown = shown or event.envelope.signal_id == signal_id
                if shown and settled(folder.run):
                    break
    except TimeoutError:
        raise TimedOut("the run's owner has not acted on the signal yet") from None
    return folder


def _goes_on(run: Run) -> bool:
    """Whether a run that somebody settled a step of is awake, or waits for another one to be settled."""
    return run.status != RUN_STATUS_NEEDS_HUMAN or _is_any_unknown(run)


def _has_ended(run: Run) -> bool:
    """Whether a run that was cancelled is over: first it may undo what it did, or wait for a human who does."""
    return run.status in TERMINAL or run.status == RUN_STATUS_NEEDS_HUMAN


def _ends(event: StoredEvent) -> bool:
    return event.envelope.HasField("run") and is_terminal(event.envelope.run)


def _is_any_unknown(run: Run) -> bool:
    return any(step.status == STEP_STATUS_UNKNOWN for step in run.steps)


def is_unsettled(run: Run, path: str) -> bool:
    """Whether somebody has to say what became of the step, or that it is undone."""
    if run.waiting_for == WAITS_FOR_COMPENSATION and run.waiting_path == path:
        return True
    return any(step.path == path and step.status == STEP_STATUS_UNKNOWN for step in run.steps)
