"""Keeps pipelines as they are declared: follows their resources, takes in what their sources hold, and tells how it
went."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol

from astromesh.v1.control_pb2 import Condition
from astromesh.v1.rag_pb2 import IngestSummary
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.resource_store import ResourceChange
from astromesh_core.errors import AstromeshError, TemporaryError
from astromesh_core.resources.rag_pipeline import DirectorySource, RAGPipelineSpec
from astromesh_core.telemetry.logs import logger
from astromesh_rag import conditions
from astromesh_rag.conditions import Observed
from astromesh_rag.documents import Listing, list_files
from astromesh_rag.pipelines import Declared, Pipelines

RETRY_SECONDS = 5.0

_log = logger(__name__)


class Observations(Protocol):
    """Where observations go."""

    async def tell(
        self, ref: ResourceRef, conditions: Iterable[Condition], figures: dict[str, int | float | str]
    ) -> None:
        """Stores the observation. Raises a TemporaryError."""
        ...


class Upkeep:
    """Takes in one pipeline's sources at a time, for there is one model, and none before `started` is done."""

    def __init__(
        self,
        pipelines: Pipelines,
        config: Path,
        observations: Observations,
        started: Awaitable[None],
    ) -> None:
        self._pipelines = pipelines
        self._config = config
        self._observations = observations
        self._started = asyncio.ensure_future(started)
        self._turn = asyncio.Lock()
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

    def listing(self, declared: Declared, spec: RAGPipelineSpec) -> Listing:
        """The files that a pipeline's sources hold. Blocks. Raises InvalidInput."""
        sources = [source for source in spec.ingestion.sources if isinstance(source, DirectorySource)]
        return list_files(self._config, sources, confined=declared.confined)

    async def observe(self, declared: Declared, summary: IngestSummary | None = None) -> None:
        """Tells how the pipeline is, after an ingestion that somebody asked for."""
        observed = self._of(declared)
        if summary is not None:
            observed.note(conditions.ingested(summary, declared=True))
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
            settled = await self._open(declared, observed)
            while not settled:
                await asyncio.sleep(RETRY_SECONDS)
                settled = await self._open(declared, observed)
            if declared.pipeline is not None:
                await self._fill(declared, observed)
        except AstromeshError as error:
            _log.error("a pipeline could not be brought up", pipeline=declared.ref.name, reason=error.message)

    async def _open(self, declared: Declared, observed: Observed) -> bool:
        """Whether it is settled: the pipeline is served, or cannot be."""
        await self._pipelines.open(declared)
        error = declared.refusal
        if error is None:
            assert declared.embedder is not None
            try:
                observed.note(conditions.model_at_hand(await declared.embedder.check()))
                return True
            except AstromeshError as failure:
                error = failure
        observed.note(conditions.model_missing(error), conditions.failed(error))
        await self._look(declared, observed)
        await self._tell(declared, observed)
        return not isinstance(error, TemporaryError)

    async def _fill(self, declared: Declared, observed: Observed) -> None:
        assert declared.spec is not None
        await self._look(declared, observed)
        if declared.spec.ingestion.sources:
            observed.note(conditions.ingesting())
            await self._tell(declared, observed)
            await self._ingest(declared, declared.spec, observed)
            await self._look(declared, observed)
        else:
            observed.note(conditions.ingested(IngestSummary(), declared=False))
        await self._tell(declared, observed)
        await self._renew(declared, observed)

    async def _ingest(self, declared: Declared, spec: RAGPipelineSpec, observed: Observed) -> None:
        assert declared.pipeline is not None
        await asyncio.shield(self._started)
        async with self._turn:
            try:
                listing = await asyncio.to_thread(self.listing, declared, spec)
                summary = await declared.pipeline.ingest_all(listing)
            except AstromeshError as error:
                _log.error("declared sources not taken in", pipeline=declared.ref.name, reason=error.message)
                observed.note(conditions.failed(error))
                return
        observed.note(conditions.ingested(summary, declared=True))
        _log.info(
            "declared sources taken in",
            pipeline=declared.ref.name,
            namespace=declared.ref.namespace,
            added=summary.added,
            replaced=summary.replaced,
            removed=summary.removed,
            unchanged=summary.unchanged,
            refused=len(summary.refused),
        )

    async def _renew(self, declared: Declared, observed: Observed) -> None:
        assert declared.pipeline is not None
        await asyncio.shield(self._started)
        async with self._turn:
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

    async def _tell(self, declared: Declared, observed: Observed) -> None:
        """Tells until it is told: status must not show what was long ago."""
        while True:
            try:
                await self._observations.tell(declared.ref, list(observed.conditions.values()), observed.figures)
            except TemporaryError as error:
                _log.warning("observation not told yet", pipeline=declared.ref.name, reason=error.message)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _note_failure(task: asyncio.Task[None]) -> None:
    """One pipeline's failure is not another's, but it is not silent either."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("bringing up a pipeline failed", task=task.get_name(), exc_info=error)
