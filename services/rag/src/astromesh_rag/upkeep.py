"""Keeps pipelines as they are declared: follows their resources, takes in what their sources hold, and tells how it
went."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing, suppress
from typing import NamedTuple, Protocol

from astromesh.v1.control_pb2 import Condition
from astromesh.v1.ingestion_events_pb2 import INGESTION_CAUSE_DECLARED, INGESTION_CAUSE_SCHEDULED, IngestionCause
from astromesh.v1.rag_pb2 import IngestSummary
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import ResourceChange
from astromesh_core.errors import AstromeshError, TemporaryError
from astromesh_core.telemetry.logs import logger
from astromesh_rag import conditions
from astromesh_rag.conditions import Observed
from astromesh_rag.documents import FILE_PREFIX, PAGE_PREFIX, Listing
from astromesh_rag.ingestions import Ingestions, Wanted
from astromesh_rag.model_checks import ModelChecks
from astromesh_rag.pipelines import Declared, Pipelines
from astromesh_rag.sources import Sources
from astromesh_rag.timetable import Appointment, Timetable

RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
"""Between two attempts at sources that could not be taken in, for a reason that may pass."""

SWEEP_SECONDS = 5.0
"""How often a replica looks for ingestions that another one broke off, and whether the store is there."""

AT_ONCE = 8
"""Pipelines whose sources are taken in side by side: a slow site holds up its own, while what is held in memory stays
bounded. They share the models, which take one batch after the other."""

_log = logger(__name__)


class Observations(Protocol):
    """Where observations go."""

    async def tell(
        self, ref: ResourceRef, conditions: Iterable[Condition], figures: dict[str, int | float | str]
    ) -> None:
        """Stores the observation. Raises a TemporaryError."""
        ...


class Ingesting(NamedTuple):
    """What runs ingestions, and what says when."""

    ingestions: Ingestions
    timetable: Timetable


class Upkeep:
    """Takes in the sources of some pipelines side by side, each one's in turn, and none before `started` is done."""

    def __init__(
        self,
        pipelines: Pipelines,
        sources: Sources,
        ingesting: Ingesting,
        observations: Observations,
        started: Awaitable[None],
    ) -> None:
        self._pipelines = pipelines
        self._sources = sources
        self._ingestions, self._timetable = ingesting
        self._pauses: dict[tuple[str, str], float] = {}
        self._models = ModelChecks()
        self._filled: set[tuple[str, str]] = set()
        self._observations = observations
        self._started = asyncio.ensure_future(started)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._observed: dict[tuple[str, str], Observed] = {}

    async def follow(self, changes: AsyncGenerator[ResourceChange, None]) -> None:
        """Serves every pipeline as the changes declare it, as soon as they do; sources follow in the background."""
        async with aclosing(changes):
            async for change in changes:
                if change.kind == "RAGPipeline":
                    self._changed(change)

    async def close(self) -> None:
        """Stops what is being taken in; what was taken in stays."""
        for task in (*self._tasks.values(), self._started):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def wanted(
        self,
        declared: Declared,
        cause: IngestionCause.ValueType,
        appointment: Appointment | None = None,
        *,
        resumable: bool = False,
    ) -> Wanted:
        """An ingestion of what the pipeline's sources hold."""
        pipeline, spec = declared.pipeline, declared.spec
        assert pipeline is not None
        assert spec is not None

        async def gather() -> Listing:
            return await self._sources.listing(spec, confined=declared.confined)

        return Wanted(pipeline, cause, gather, appointment, resumable)

    def next_due(self, declared: Declared) -> int:
        """When the pipeline's schedule is due next, in Unix seconds; 0: never."""
        return self._timetable.next_due(declared.spec.ingestion) if declared.spec is not None else 0

    async def observe(self, declared: Declared, outcome: IngestSummary | AstromeshError | None = None) -> None:
        """Tells how the pipeline is, after an ingestion that somebody asked for; of the sources, with its outcome."""
        observed = self._of(declared)
        if isinstance(outcome, AstromeshError):
            observed.note(conditions.failed(outcome))
        elif outcome is not None:
            observed.note(conditions.ingested(outcome, declared=True))
            self._filled.add(_key(declared.ref))
        await self._look(declared, observed)
        await self._tell(declared, observed)

    def _changed(self, change: ResourceChange) -> None:
        key = change.namespace, change.name
        if change.record is None:
            declared = None
            self._pipelines.remove(*key)
            self._observed.pop(key, None)
        else:
            declared = self._pipelines.put(change.record)
            if declared is None:
                return
        running = self._tasks.pop(key, None)
        if running is not None:
            running.cancel()
        if declared is not None and declared.refusal is None:
            task = self._tasks[key] = asyncio.create_task(self._bring_up(declared), name=f"pipeline {change.name}")
            task.add_done_callback(_note_failure)

    async def _bring_up(self, declared: Declared) -> None:
        """Opens the pipeline, tells how it is, takes in its sources, tells how that went, and renews what requests
        brought. Where the model is not at hand nothing is taken in; a failure that may pass is tried again."""
        observed = self._of(declared)
        try:
            error = await self._opened_and_filled(declared, observed)
            while isinstance(error, TemporaryError):
                await asyncio.sleep(RETRY_SECONDS if error.retry_after is None else error.retry_after)
                error = await self._opened_and_filled(declared, observed)
        except AstromeshError as error:
            _log.error("a pipeline could not be brought up", pipeline=declared.ref.name, reason=error.message)

    async def _opened_and_filled(self, declared: Declared, observed: Observed) -> AstromeshError | None:
        """Answers what keeps the pipeline from being filled; where nothing does, it fills it for good."""
        error = await self._open(declared, observed)
        if error is None:
            try:
                await self._fill(declared, observed)
            except TemporaryError as lost:
                await self._look(declared, observed)
                await self._tell(declared, observed)
                error = lost
        return error

    async def _open(self, declared: Declared, observed: Observed) -> AstromeshError | None:
        """Opens the pipeline and looks at its models; the answer is what keeps it from being filled."""
        await self._pipelines.open(declared)
        error, embedder = declared.refusal, declared.embedder
        if error is not None and embedder is not None:
            observed.note(*conditions.unusable(error))
        if embedder is not None:
            error = await self._models.check(declared, observed) or error
        elif error is not None:
            observed.note(conditions.model_missing(error))
        if error is not None:
            observed.note(conditions.failed(error))
            await self._look(declared, observed)
            await self._tell(declared, observed)
        return error

    async def _fill(self, declared: Declared, observed: Observed) -> None:
        """Takes the sources in, then keeps the pipeline filled: by its schedule, after a failure that may pass, and
        where another replica broke off."""
        assert declared.spec is not None
        self._filled.discard(_key(declared.ref))
        await self._timetable.begin(declared.ref, declared.spec.ingestion)
        await self._look(declared, observed)
        error: AstromeshError | None = None
        if declared.spec.ingestion.sources or await self._has_left_over(declared):
            observed.note(conditions.ingesting())
            await self._tell(declared, observed)
            error = await self._ingest(declared, observed)
        else:
            observed.note(conditions.ingested(IngestSummary(), declared=False))
        await self._tell(declared, observed)
        await self._renew(declared, observed)
        while True:
            if error is None:
                self._filled.discard(_key(declared.ref))
                await self._succeed(declared, observed)
            error = await self._next(declared, observed, error)
            if _key(declared.ref) in self._filled:
                error = None

    async def _succeed(self, declared: Declared, observed: Observed) -> None:
        lost = await self._pipelines.succeed(declared)
        if lost:
            observed.note(conditions.ingested(IngestSummary(refused=lost), declared=True))
            await self._tell(declared, observed)

    async def _next(
        self, declared: Declared, observed: Observed, error: AstromeshError | None
    ) -> AstromeshError | None:
        """Waits for the next reason to take sources in, and does. `error` and the answer: what kept the newest
        ingestion from taking in everything."""
        assert declared.spec is not None
        ref, ingestion = declared.ref, declared.spec.ingestion
        passing = isinstance(error, TemporaryError)
        try:
            left = await self._timetable.seconds_left(ref, ingestion)
            pause = self._pauses.setdefault(_key(ref), RETRY_SECONDS) if passing else SWEEP_SECONDS
            await asyncio.sleep(pause if left is None else min(pause, left))
            appointment = await self._timetable.appointment(ref, ingestion)
            if appointment is None and not passing and not await self._ingestions.is_broken(*_key(ref)):
                await self._watch(declared, observed)
                return error
        except TemporaryError as away:
            _log.warning("the bus does not say what is due", pipeline=ref.name, reason=away.message)
            await asyncio.sleep(RETRY_SECONDS)
            return error
        again = await self._ingest(declared, observed, appointment)
        if again is None:
            self._pauses.pop(_key(ref), None)
        elif passing:
            self._pauses[_key(ref)] = min(2 * self._pauses.get(_key(ref), RETRY_SECONDS), LONGEST_RETRY_SECONDS)
        await self._tell(declared, observed)
        return again

    async def _ingest(
        self, declared: Declared, observed: Observed, appointment: Appointment | None = None
    ) -> AstromeshError | None:
        """Takes the sources in and notes how that went; the answer is what kept it from taking in everything."""
        cause = INGESTION_CAUSE_DECLARED if appointment is None else INGESTION_CAUSE_SCHEDULED
        await asyncio.shield(self._started)
        async with self._places:
            try:
                summary = await self._summary_of(self.wanted(declared, cause, appointment, resumable=True))
            except AstromeshError as error:
                _log.error("declared sources not taken in", pipeline=declared.ref.name, reason=error.message)
                observed.note(conditions.failed(error))
                await self._look(declared, observed)
                return error
        if summary is not None:
            observed.note(conditions.ingested(summary, declared=True))
            _log_ingested(declared.ref, summary)
        await self._look(declared, observed)
        return None

    async def _summary_of(self, wanted: Wanted) -> IngestSummary | None:
        """What it came to; None where another replica kept the appointment."""
        summary: IngestSummary | None = None
        async with aclosing(self._ingestions.run(wanted)) as parts:
            async for part in parts:
                if part.HasField("summary"):
                    summary = part.summary
        return summary

    async def _has_left_over(self, declared: Declared) -> bool:
        """Whether it holds documents of sources that are declared no more."""
        assert declared.pipeline is not None
        stored = await declared.pipeline.store.documents()
        return any(document.startswith((FILE_PREFIX, PAGE_PREFIX)) for document in stored)

    async def _renew(self, declared: Declared, observed: Observed) -> None:
        assert declared.pipeline is not None
        await asyncio.shield(self._started)
        async with self._places:
            summary = await declared.pipeline.renew()
        if summary.replaced or summary.refused:
            observed.note(conditions.ingested(summary, declared=True))
            await self._look(declared, observed)
            await self._tell(declared, observed)

    def _of(self, declared: Declared) -> Observed:
        """All that is known of a pipeline: an observation takes the place of the last one, so each tells the whole."""
        return self._observed.setdefault((declared.ref.namespace, declared.ref.name), Observed())

    async def _look(self, declared: Declared, observed: Observed) -> None:
        if declared.pipeline is None:
            return
        try:
            observed.count(await declared.pipeline.figures())
        except AstromeshError as error:
            observed.note(*conditions.unusable(error))

    async def _watch(self, declared: Declared, observed: Observed) -> None:
        """Tells where the store or a model was lost since it was last looked at, or is back."""
        assert declared.pipeline is not None
        connected = observed.connected
        try:
            await declared.pipeline.store.count()
        except AstromeshError as error:
            observed.note(*conditions.unusable(error))
        else:
            if not connected:
                await self._look(declared, observed)
        if await self._models.check_again(declared, observed) or observed.connected is not connected:
            await self._tell(declared, observed)

    async def _tell(self, declared: Declared, observed: Observed) -> None:
        """Tells until it is told: status must not show what was long ago."""
        while True:
            try:
                figures = {**observed.figures, "next_ingestion_unix_seconds": self.next_due(declared)}
                await self._observations.tell(declared.ref, list(observed.conditions.values()), figures)
            except TemporaryError as error:
                _log.warning("observation not told yet", pipeline=declared.ref.name, reason=error.message)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _key(ref: ResourceRef) -> tuple[str, str]:
    return ref.namespace, ref.name


def _log_ingested(ref: ResourceRef, summary: IngestSummary) -> None:
    _log.info(
        "declared sources taken in",
        pipeline=ref.name,
        namespace=ref.namespace,
        added=summary.added,
        replaced=summary.replaced,
        removed=summary.removed,
        unchanged=summary.unchanged,
        refused=len(summary.refused),
    )


def _note_failure(task: asyncio.Task[None]) -> None:
    """One pipeline's failure is not another's, but it is not silent either."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("bringing up a pipeline failed", task=task.get_name(), exc_info=error)
