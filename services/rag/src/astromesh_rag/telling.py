"""What an ingestion tells while it goes on: events for the log, gathered so that each append is worth it, and progress
for whoever waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from astromesh.v1.ingestion_events_pb2 import (
    IngestionAdvanced,
    IngestionCause,
    IngestionCompleted,
    IngestionEvent,
    IngestionFailed,
    IngestionListed,
)
from astromesh.v1.rag_pb2 import IngestProgress, IngestResponse
from astromesh.v1.values_pb2 import Failure
from astromesh_core.bus.ingestion_store import IngestionChain
from astromesh_core.errors import AstromeshError, Conflict, TemporaryError
from astromesh_core.events.contents import text_content
from astromesh_core.telemetry.logs import logger
from astromesh_rag.documents import Listing
from astromesh_rag.pipeline import Pipeline, Step
from astromesh_rag.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Coroutine

FLUSH_SECONDS: Final = 1.0
FLUSH_CHANGES: Final = 100
END_SECONDS: Final = 10.0
"""How long the last event is tried to be stored. Without it the ingestion counts as one that broke off."""

_LONGEST_MESSAGE: Final = 4_000

T = TypeVar("T")

_log = logger(__name__)


class Told:
    """One ingestion's events, as they are told."""

    def __init__(
        self, chain: IngestionChain, ingestion: str, pipeline: str, cause: IngestionCause.ValueType, requested: int
    ) -> None:
        self.id = ingestion
        self.tally = Tally()
        self._chain = chain
        self._pipeline = pipeline
        self._cause: IngestionCause.ValueType = cause
        self._requested = requested
        self._gathered: list[IngestionEvent] = []
        self._flushed = 0.0
        self._ended = False

    async def append(self, *events: IngestionEvent) -> None:
        """Stores the events, and before them what was gathered. Raises AppendConflict, StoreFull."""
        gathered, self._gathered = self._gathered, []
        await self._chain.append(*gathered, *(self._whole(event) for event in events))
        self._flushed = asyncio.get_running_loop().time()

    def listed(self, listing: Listing) -> None:
        """The sources were looked through."""
        self.tally.counts.documents_total = len(listing.documents)
        self._gathered.append(self._whole(IngestionEvent(listed=IngestionListed())))

    async def advance(self, step: Step) -> None:
        """Counts a step, and stores what was gathered now and then."""
        if step.taken is None:
            return
        self.tally.add(step.taken)
        self.tally.counts.documents_done = step.done
        waited = asyncio.get_running_loop().time() - self._flushed
        if waited >= FLUSH_SECONDS or self.tally.pending >= FLUSH_CHANGES:
            await self.append(*self._advanced())

    async def end(self, *last: IngestionEvent) -> None:
        """Stores what was gathered and the last event. Without one, or where that is not possible, the ingestion stays
        open, for whoever comes next. After a last event nothing follows: who leaves then leaves nothing undone."""
        if self._ended:
            return
        self._ended = bool(last)
        events = [*self._advanced(), *last]
        if not events and not self._gathered:
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await self.append(*events)
        except (TimeoutError, TemporaryError, Conflict) as error:
            _log.warning("the end of an ingestion is not stored", ingestion=self.id, reason=str(error))

    def _advanced(self) -> list[IngestionEvent]:
        changes = self.tally.take_changes()
        return [IngestionEvent(advanced=IngestionAdvanced(changes=changes))] if changes else []

    def _whole(self, event: IngestionEvent) -> IngestionEvent:
        event.pipeline, event.cause, event.requested_unix_nano = self._pipeline, self._cause, self._requested
        event.counts.CopyFrom(self.tally.counts)
        return event


async def told_steps(
    pipeline: Pipeline, gather: Callable[[], Awaitable[Listing]], told: Told, keeping: asyncio.Task[None]
) -> AsyncGenerator[IngestResponse, None]:
    """Ingests what there is: progress as it goes, the summary last; all of it told. Raises what `keeping` ends with."""
    listing = await _unless(keeping, _gathered(gather))
    told.listed(listing)
    steps = pipeline.ingest(listing)
    async with aclosing(steps):
        while (step := await _unless(keeping, anext(steps, None))) is not None:
            await told.advance(step)
            yield _progress(step, told.id)
    await told.end(IngestionEvent(completed=IngestionCompleted()))
    total = len(listing.documents)
    yield _progress(Step(total, total), told.id)
    yield IngestResponse(summary=told.tally.summary(told.id))


def failed(error: AstromeshError) -> IngestionEvent:
    """The event of an ingestion that cannot go on."""
    message = error.message.encode(errors="replace").decode()[:_LONGEST_MESSAGE]
    return IngestionEvent(
        failed=IngestionFailed(failure=Failure(error_class=error.code, message=text_content(message)))
    )


async def _gathered(gather: Callable[[], Awaitable[Listing]]) -> Listing:
    return await gather()


async def _unless(keeping: asyncio.Task[None], work: Coroutine[object, object, T] | Awaitable[T]) -> T:
    """The outcome of the work, unless the right to do it ends first: then that is raised, and the work is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task, keeping), return_when=asyncio.FIRST_COMPLETED)
        if keeping.done() and not task.done():
            await keeping
        return await task
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await task


def _progress(step: Step, ingestion: str) -> IngestResponse:
    return IngestResponse(
        progress=IngestProgress(
            source=step.source, documents_done=step.done, documents_total=step.total, ingestion_id=ingestion
        )
    )
