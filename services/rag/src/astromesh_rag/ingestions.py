"""Running ingestions, one at a time of a pipeline in the whole mesh, each told by its events.

requested ─▶ claimed ─▶ listed ─▶ advanced … ─▶ completed | failed | cancelled, once

What was taken in stands in the pipeline's store, not in the events: so an ingestion that broke off is claimed by
whoever comes next, looks through the sources again, and goes on with what is missing. One of documents that a request
brought cannot: they are gone with the request, and it has failed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from time import time_ns
from typing import Final

from astromesh.v1.ingestion_events_pb2 import (
    INGESTION_CAUSE_GIVEN,
    IngestionCancelled,
    IngestionCause,
    IngestionClaimed,
    IngestionEvent,
    IngestionLease,
    IngestionRequested,
)
from astromesh.v1.rag_pb2 import IngestProgress, IngestResponse
from astromesh_core.bus.ingestion_lease import HeldLease, LeaseLost
from astromesh_core.bus.ingestion_store import Clock, IngestionStore, StoredIngestion
from astromesh_core.bus.log import AppendConflict
from astromesh_core.errors import AstromeshError, Bug, Cancelled, Conflict, NotFound, Unavailable
from astromesh_core.telemetry.logs import logger
from astromesh_rag.documents import Listing
from astromesh_rag.pipeline import Pipeline
from astromesh_rag.telling import Told, failed, told_steps
from astromesh_rag.timetable import Appointment

WAIT_SECONDS: Final = 0.3
INTERRUPTED: Final = "broke off, and its documents came with the request; send them again"
LEFT: Final = "whoever asked for it left"

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An ingestion that is to run: of what, why, and how its documents are found once it is its turn."""

    pipeline: Pipeline
    cause: IngestionCause.ValueType
    gather: Callable[[], Awaitable[Listing]]
    appointment: Appointment | None = None
    """Of a scheduled one."""
    resumable: bool = False
    """Left in the middle, it is not cancelled but open, for whoever comes next."""


class Ingestions:
    """Runs ingestions of this process. `runner` names it among its like."""

    def __init__(self, store: IngestionStore, runner: str, clock: Clock = time_ns) -> None:
        self.store = store
        self._runner = runner
        self._clock = clock

    async def run(self, wanted: Wanted) -> AsyncGenerator[IngestResponse, None]:
        """Runs it once it is the pipeline's turn: progress as it goes, the summary last.

        An ingestion of the sources that broke off is gone on with instead, under its own id. Of an appointment that
        another replica keeps, nothing comes. Left early it is cancelled, or stays open if it is resumable. Raises what
        it failed with, Cancelled where somebody had it cancelled, LeaseLost where another process took over.
        """
        pipeline = wanted.pipeline
        ingestion = wanted.appointment.id if wanted.appointment is not None else new_id(self._clock())
        if pipeline.turn.locked() and (holder := await self._holder(pipeline)):
            yield _waiting(ingestion, holder)
        async with pipeline.turn:
            while (held := await self._take(pipeline, ingestion)) is None:
                yield _waiting(ingestion, await self._holder(pipeline))
                await asyncio.sleep(WAIT_SECONDS)
            try:
                if wanted.appointment is None or await wanted.appointment.stands():
                    async with aclosing(self._claimed(wanted, ingestion, held)) as parts:
                        async for part in parts:
                            yield part
            finally:
                await held.release()

    async def is_broken(self, namespace: str, pipeline: str) -> bool:
        """Whether an ingestion of the sources broke off, and nobody goes on with it."""
        newest = await self.store.newest(namespace, pipeline, given=False)
        if newest is None or newest.ended:
            return False
        return await self.store.leases.holder(namespace, pipeline) is None

    async def cancel(self, namespace: str, pipeline: str, ingestion: str, reason: str) -> None:
        """Has an ingestion end within seconds, whoever runs it, or nobody does.

        Raises NotFound where there is none, Conflict where it has ended.
        """
        stored = await self._found(namespace, pipeline, ingestion)
        if stored.ended:
            raise Conflict(f"the ingestion {ingestion} has ended already")
        # Under a name of its own: what runs here would take a claim in its own name for its own.
        lease = IngestionLease(runner=f"{self._runner} {secrets.token_hex(4)}", ingestion_id=ingestion)
        held = await self.store.leases.take(namespace, pipeline, lease)
        if held is None:
            await self.store.leases.cancel(namespace, pipeline, ingestion, reason)
            return
        try:
            told = await self._taken_over(namespace, stored)
            await told.append(_cancelled(reason))
        finally:
            await held.release()

    async def _found(self, namespace: str, pipeline: str, ingestion: str) -> StoredIngestion:
        events = await self.store.events(namespace, pipeline, ingestion)
        if not events:
            raise NotFound(f"pipeline {pipeline} has no ingestion {ingestion[:80]!r}")
        return StoredIngestion(ingestion, events[-1])

    async def _take(self, pipeline: Pipeline, ingestion: str) -> HeldLease | None:
        lease = IngestionLease(runner=self._runner, ingestion_id=ingestion)
        return await self.store.leases.take(pipeline.ref.namespace, pipeline.ref.name, lease)

    async def _holder(self, pipeline: Pipeline) -> str:
        holder = await self.store.leases.holder(pipeline.ref.namespace, pipeline.ref.name)
        return holder.ingestion_id if holder is not None else ""

    async def _claimed(self, wanted: Wanted, ingestion: str, held: HeldLease) -> AsyncGenerator[IngestResponse, None]:
        told = await self._begun(wanted, ingestion)
        await held.name(told.id)
        if wanted.appointment is not None:
            await wanted.appointment.keep()
        keeping = asyncio.create_task(held.keep(), name="ingestion lease")
        ending: list[IngestionEvent] | None = [failed(Bug("an unexpected error of the service; its log has it"))]
        try:
            async with aclosing(told_steps(wanted.pipeline, wanted.gather, told, keeping)) as parts:
                async for part in parts:
                    yield part
            ending = None
        except (LeaseLost, AppendConflict) as error:
            ending = None
            raise LeaseLost(f"another process goes on with ingestion {told.id}: {error.message}") from error
        except Cancelled as error:
            ending = [_cancelled(error.message)]
            raise
        except AstromeshError as error:
            ending = [failed(error)]
            raise
        except (GeneratorExit, asyncio.CancelledError):
            ending = [] if wanted.resumable else [_cancelled(LEFT)]
            raise
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError, AstromeshError):
                await keeping
            if ending is not None:
                await told.end(*ending)

    async def _begun(self, wanted: Wanted, ingestion: str) -> Told:
        """The ingestion with its first events, or the one that broke off with a claim to it."""
        ref, given = wanted.pipeline.ref, wanted.cause == INGESTION_CAUSE_GIVEN
        await self._end_broken(ref.namespace, ref.name)
        claimed = IngestionEvent(claimed=IngestionClaimed(runner=self._runner))
        broken = None if given else await self.store.newest(ref.namespace, ref.name, given=False)
        if broken is not None and not broken.ended:
            _log.info("an ingestion that broke off goes on", pipeline=ref.name, ingestion=broken.id)
            told = await self._taken_over(ref.namespace, broken)
            await told.append(claimed)
            return told
        chain = self.store.begin(
            ref.namespace, ref.name, ingestion, given=given, producer=self._runner, clock=self._clock
        )
        told = Told(chain, ingestion, ref.name, wanted.cause, self._clock())
        due = wanted.appointment.due if wanted.appointment is not None else 0
        requested = IngestionRequested(resource_sha256=ref.sha256, due_unix_seconds=due)
        await told.append(IngestionEvent(requested=requested), claimed)
        return told

    async def _taken_over(self, namespace: str, stored: StoredIngestion) -> Told:
        chain = await self.store.take_over(namespace, stored, producer=self._runner, clock=self._clock)
        before = stored.last.ingestion
        return Told(chain, stored.id, before.pipeline, before.cause, before.requested_unix_nano)

    async def _end_broken(self, namespace: str, pipeline: str) -> None:
        """Nobody runs one now: what a request brought and broke off has failed."""
        broken = await self.store.newest(namespace, pipeline, given=True)
        if broken is not None and not broken.ended:
            told = await self._taken_over(namespace, broken)
            told.tally.counts.CopyFrom(broken.last.ingestion.counts)
            await told.append(failed(Unavailable(INTERRUPTED)))


def _waiting(ingestion: str, waits_for: str) -> IngestResponse:
    return IngestResponse(progress=IngestProgress(ingestion_id=ingestion, waits_for=waits_for))


def _cancelled(reason: str) -> IngestionEvent:
    return IngestionEvent(cancelled=IngestionCancelled(reason=reason))


def new_id(now_unix_nano: int) -> str:
    """An id that sorts by time."""
    return f"{now_unix_nano // 1_000_000:011x}{secrets.token_hex(5)}"
