"""How a fork gets the past that it shares: read from its source's log, checked again where it was edited, recorded.

`started` and the past are recorded at once, after all that may fail or take its time. A crash between their commits
leaves a part of it in the log: whoever takes the fork up next records the rest, and performs none of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import InputChecked, RunEvent, RunStarted
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.subjects import run_aggregate
from astromesh_core.errors import InvalidInput, NotFound
from astromesh_core.events.chain import StoredEvent
from astromesh_core.events.contents import plain
from astromesh_runtime.context import checked_input, rendered_again
from astromesh_runtime.effects import CheckInput
from astromesh_runtime.forking import shared_past
from astromesh_runtime.scope import RunScope

Resolved = Callable[[StoredEvent], Awaitable[Envelope]]
"""The event with its contents fetched."""

_OF_THE_WORKER = frozenset({"requested", "started", "claimed", "suspended", "resumed"})


class Pasts:
    """Gives forks their pasts."""

    def __init__(self, log: EventLog, resolved: Resolved) -> None:
        self._log = log
        self._resolved = resolved

    async def begin(self, scope: RunScope, started: RunStarted) -> None:
        """Records `started` and the past. Raises NotFound, InvalidInput where it cannot be had, TemporaryError."""
        source = await self._source(scope)
        _keep_boundary(source, started)
        scope.recorded.started = started
        checked = await _checked_again(scope, source, started)
        past = shared_past(source, scope.requested, started, lambda it: rendered_again(scope, it), checked)
        scope.record(RunEvent(started=started))
        _record(scope, [RunEvent(started=started), *past], stored=1)

    async def complete(self, scope: RunScope, stored: Sequence[Envelope]) -> None:
        """Records what of its past a fork's log lacks: nothing, but after a crash while it was written.

        A source that is gone by now has nothing to add.
        """
        recorded = scope.recorded
        assert recorded.started is not None
        try:
            source = await self._source(scope)
            checked = recorded.input_checked or await _checked_again(scope, source, recorded.started)
            past = shared_past(source, scope.requested, recorded.started, lambda it: rendered_again(scope, it), checked)
        except (NotFound, InvalidInput):
            return
        own = [_place(event.run) for event in stored if event.run.WhichOneof("event") not in _OF_THE_WORKER]
        if own == [_place(event) for event in past[: len(own)]]:
            _record(scope, past, stored=len(own))

    async def _source(self, scope: RunScope) -> list[Envelope]:
        fork = scope.requested.fork
        stored = await self._log.read(run_aggregate(scope.namespace, fork.run_id))
        if not stored.events:
            raise NotFound(f"there is no run {fork.run_id} in namespace {scope.namespace!r}")
        return [await self._resolved(event) for event in stored.events[: fork.index + 1]]


def _record(scope: RunScope, events: Sequence[RunEvent], *, stored: int) -> None:
    """Into the next commits and the record, but for the first ones, which are in the log already."""
    for number, event in enumerate(events):
        if number >= stored:
            # Past the bill: the run that asked was billed.
            scope.writer.record(event, traceparent=scope.traceparent)
        if number >= stored or event.HasField("started"):
            scope.recorded.add(Envelope(index=scope.recorded.events, run=event))


def _keep_boundary(source: Sequence[Envelope], started: RunStarted) -> None:
    """What is shared was marked as data between the source's boundaries: the fork's model must be told of these."""
    first = next((event.run.started for event in source if event.run.HasField("started")), None)
    shares = any(event.run.HasField("context_assembled") for event in source)
    if first is not None and shares and first.data_boundary and started.data_boundary:
        started.data_boundary = first.data_boundary


async def _checked_again(scope: RunScope, source: Sequence[Envelope], started: RunStarted) -> InputChecked | None:
    """What the agent's rules say of an edited question, where the source's was checked in what is shared."""
    query = plain(scope.requested.query)
    shares = any(event.run.HasField("input_checked") for event in source)
    if not started.checks_input or not shares or query == plain(source[0].run.requested.query):
        return None
    if started.masks:
        raise InvalidInput("the agent masks personal data: with another question, fork before it is checked")
    return await checked_input(scope, CheckInput(query))


def _place(event: RunEvent) -> tuple[str, str, int]:
    """What an event answers; a tool's effect tells the run's own deed from what it shares."""
    kind = event.WhichOneof("event") or ""
    return kind, getattr(getattr(event, kind), "path", ""), event.tool_intended.effect
